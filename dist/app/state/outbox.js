// Messages of text alone, sent over STOMP.
import { link, publish } from "../live/stomp.js";
import { backoff } from "../backoff.js";
import { me } from "../session.js";
import { effect } from "../ui.js";
import { addPending, atEndOf, changePending, pending } from "./pending.js";

const CONFIRM_LIMIT_MS = 15_000;
/** Refusals that time heals, and how often we let it. */
const PASSING = new Set(["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS"]);
const MOST_TRIES = 6;

/** @typedef {{code: string, message: string, details?: {clientMessageId?: string}}} Refusal */

/** Runs while a passing refusal is given time to pass: until then nothing goes out, or later ones would overtake.
 *  @type {ReturnType<typeof setTimeout> | null} */
let breather = null;

/** @param {string} channelId @param {string} content */
export function send(channelId, content) {
  addPending(channelId, content, []);
  flush();
}

/** @param {string} clientMessageId */
export function sendAgain(clientMessageId) {
  changePending(clientMessageId, { state: "waiting", tries: 0, reason: undefined });
  flush();
}

/**
 * The server refused one.
 *
 * @param {Refusal} refusal
 * @returns {boolean} whether it was known which
 */
export function refuse({ code, message, details }) {
  const meant = pending
    .peek()
    .find((each) => each.state === "sent" && each.clientMessageId === details?.clientMessageId);
  // That somebody is typing can be refused too, and is no message of ours.
  if (!meant) return false;
  const { clientMessageId, tries } = meant;
  atEndOf(clientMessageId, () => {});
  if (!PASSING.has(code) || tries >= MOST_TRIES) {
    changePending(clientMessageId, { state: "failed", reason: message });
    return true;
  }
  changePending(clientMessageId, { state: "waiting", tries: tries + 1 });
  breather ??= setTimeout(() => {
    breather = null;
    flush();
  }, backoff(tries));
  return true;
}

/** Sends what waits, and again what was sent on a connection that has since been lost. @returns {() => void} ends it */
export function startOutbox() {
  return effect(() => {
    if (link.value !== "on") return;
    for (const { clientMessageId, state } of pending.peek()) {
      if (state === "sent") changePending(clientMessageId, { state: "waiting" });
    }
    flush();
  });
}

function flush() {
  const authorId = me.peek()?.id;
  if (breather || !authorId) return;
  for (const { clientMessageId, channelId, content, state } of pending.peek()) {
    if (state !== "waiting") continue;
    if (!publish("/pub/messages", { content, channelId, authorId, clientMessageId })) return;
    changePending(clientMessageId, { state: "sent" });
    const limit = setTimeout(() => overdue(clientMessageId), CONFIRM_LIMIT_MS);
    atEndOf(clientMessageId, () => clearTimeout(limit));
  }
}

/** @param {string} clientMessageId */
function overdue(clientMessageId) {
  // Without a connection it is not late: it goes out again on the next one.
  if (link.peek() === "on") changePending(clientMessageId, { state: "failed", reason: "The server did not confirm it." });
}
