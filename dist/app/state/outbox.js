// Messages on their way. Each is shown at once, and goes when the channel delivers the real one with the same
// clientMessageId. Sending one twice is harmless: the server stores it once.
import { link, publish } from "../live/stomp.js";
import { backoff } from "../patience.js";
import { me } from "../session.js";
import { uuid } from "../text/uuid.js";
import { effect, signal } from "../ui.js";

/** @typedef {import("../types.js").Message} Message */

const CONFIRM_LIMIT_MS = 15_000;
/** Refusals that time heals, and how often we let it. */
const PASSING = new Set(["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS"]);
const MOST_TRIES = 6;

/**
 * @typedef {object} Pending
 * @property {string} clientMessageId
 * @property {string} channelId
 * @property {string} content
 * @property {string} createdAt
 * @property {"waiting" | "sent" | "failed"} state
 * @property {number} tries refusals that might have passed
 * @property {string} [reason] why it failed
 *
 * @typedef {{code: string, message: string, details?: {clientMessageId?: string}}} Refusal
 */

/** In the order they were written. */
export const pending = signal(/** @type {Pending[]} */ ([]));

/** What is sent and not confirmed, with the time it is given. @type {Map<string, ReturnType<typeof setTimeout>>} */
const limits = new Map();
/** Runs while a passing refusal is given time to pass: until then nothing goes out, or later ones would overtake.
 *  @type {ReturnType<typeof setTimeout> | null} */
let breather = null;

/** @param {string} channelId @param {string} content */
export function send(channelId, content) {
  const createdAt = new Date().toISOString();
  const message = { clientMessageId: uuid(), channelId, content, createdAt, tries: 0 };
  pending.value = [...pending.peek(), { ...message, state: /** @type {const} */ ("waiting") }];
  flush();
}

/** @param {string} clientMessageId */
export function retry(clientMessageId) {
  change(clientMessageId, { state: "waiting", tries: 0, reason: undefined });
  flush();
}

/** @param {string} clientMessageId */
export function discard(clientMessageId) {
  stopWaitingFor(clientMessageId);
  pending.value = pending.peek().filter((each) => each.clientMessageId !== clientMessageId);
}

/** A message was delivered: if it is one of ours, it has arrived. @param {Message} message */
export function settle(message) {
  if (message.clientMessageId && message.author?.id === me.peek()?.id) discard(message.clientMessageId);
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
  stopWaitingFor(clientMessageId);
  if (!PASSING.has(code) || tries >= MOST_TRIES) {
    change(clientMessageId, { state: "failed", reason: message });
    return true;
  }
  change(clientMessageId, { state: "waiting", tries: tries + 1 });
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
      if (state === "sent") change(clientMessageId, { state: "waiting" });
    }
    flush();
  });
}

export function forgetPending() {
  for (const { clientMessageId } of pending.peek()) discard(clientMessageId);
}

function flush() {
  const authorId = me.peek()?.id;
  if (breather || !authorId) return;
  for (const { clientMessageId, channelId, content, state } of pending.peek()) {
    if (state !== "waiting") continue;
    if (!publish("/pub/messages", { content, channelId, authorId, clientMessageId })) return;
    change(clientMessageId, { state: "sent" });
    stopWaitingFor(clientMessageId);
    limits.set(clientMessageId, setTimeout(() => overdue(clientMessageId), CONFIRM_LIMIT_MS));
  }
}

/** @param {string} clientMessageId */
function overdue(clientMessageId) {
  limits.delete(clientMessageId);
  // Without a connection it is not late: it goes out again on the next one.
  if (link.peek() === "on") change(clientMessageId, { state: "failed", reason: "The server did not confirm it." });
}

/** @param {string} clientMessageId */
function stopWaitingFor(clientMessageId) {
  clearTimeout(limits.get(clientMessageId));
  limits.delete(clientMessageId);
}

/** @param {string} clientMessageId @param {Partial<Pending>} news */
function change(clientMessageId, news) {
  pending.value = pending.peek().map((each) => (each.clientMessageId === clientMessageId ? { ...each, ...news } : each));
}
