// Messages without files, sent over STOMP.
import { effect } from "@preact/signals";
import { connection, publish } from "../live/link";
import { backoff } from "../backoff";
import { me } from "../session";
import { addPending, setCleanup, changePending, pending } from "./pending";

const CONFIRM_TIMEOUT_MS = 15_000;
/** Transient errors, and the limit of retries. */
const TRANSIENT_CODES = new Set(["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS"]);
const MAX_TRIES = 6;

export type Refusal = { code: string; message: string; details?: { clientMessageId?: string } };

/** Runs before a retry. Nothing is sent until it fires: later messages would overtake. */
let retryTimer: ReturnType<typeof setTimeout> | null = null;

export function send(channelId: string, content: string) {
  addPending(channelId, content, []);
  flush();
}

export function resend(clientMessageId: string) {
  changePending(clientMessageId, { state: "waiting", tries: 0, reason: undefined });
  flush();
}

/**
 * Handles an error frame for a message.
 *
 * @returns whether a sent message was the cause
 */
export function handleRefusal({ code, message: reason, details }: Refusal): boolean {
  const message = pending
    .peek()
    .find((each) => each.state === "sent" && each.clientMessageId === details?.clientMessageId);
  // Other frames, such as a typing notice, can be refused too.
  if (!message) return false;
  const { clientMessageId, tries } = message;
  setCleanup(clientMessageId, () => {});
  if (!TRANSIENT_CODES.has(code) || tries >= MAX_TRIES) {
    changePending(clientMessageId, { state: "failed", reason });
    return true;
  }
  changePending(clientMessageId, { state: "waiting", tries: tries + 1 });
  retryTimer ??= setTimeout(() => {
    retryTimer = null;
    flush();
  }, backoff(tries));
  return true;
}

/**
 * Sends waiting messages, and resends unconfirmed ones on each new connection.
 *
 * @returns stops
 */
export function startOutbox(): () => void {
  return effect(() => {
    if (connection.value !== "on") return;
    for (const { clientMessageId, state } of pending.peek()) {
      if (state === "sent") changePending(clientMessageId, { state: "waiting" });
    }
    flush();
  });
}

function flush() {
  const authorId = me.peek()?.id;
  if (retryTimer || !authorId) return;
  for (const { clientMessageId, channelId, content, state } of pending.peek()) {
    if (state !== "waiting") continue;
    if (!publish("/pub/messages", { content, channelId, authorId, clientMessageId })) return;
    changePending(clientMessageId, { state: "sent" });
    const timer = setTimeout(() => onTimeout(clientMessageId), CONFIRM_TIMEOUT_MS);
    setCleanup(clientMessageId, () => clearTimeout(timer));
  }
}

function onTimeout(clientMessageId: string) {
  // Without a connection, the message is resent on the next one.
  if (connection.peek() === "on")
    changePending(clientMessageId, { state: "failed", reason: "The server did not confirm it." });
}
