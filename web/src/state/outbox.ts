// Messages without files, sent over STOMP.
//
// A message is never given up while the server may have it: one that is shown as not sent was refused, and is not stored.
// Without a connection, messages wait, and go out in their order.
import { effect } from "@preact/signals";
import * as api from "../api";
import { ApiError } from "../http";
import { errorMessage } from "../i18n/errors";
import { connection, publish } from "../live/link";
import { backoff, pauseOrOnline } from "../backoff";
import { me } from "../session";
import { addPending, setCleanup, changePending, pending, removePending, requestOf } from "./pending";
import { confirmed, originalGone } from "./uploads";
import type { Pending } from "./pending";
import type { Reply } from "../types";

/** Longer than the 20 s in which heart-beats find a dead connection, which sends everything again. */
const CONFIRM_TIMEOUT_MS = 30_000;
/** Another try may succeed. */
const TRANSIENT_CODES = new Set(["SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS", "INTERNAL_ERROR"]);
/** The message was stored, and deleted since. */
const DELETED_CODE = "MESSAGE_NOT_FOUND";

export type Refusal = { code: string; message: string; details?: { clientMessageId?: string; replyTo?: string } };

/** Runs before a retry. Nothing is sent until it fires: later messages would overtake. */
let retryTimer: ReturnType<typeof setTimeout> | null = null;
/** Messages on a connection that has not confirmed them in time. */
const overdue: Set<string> = new Set();
let asking = false;

/** @param clientMessageId of an earlier try with the same content */
export function send(channelId: string, content: string, replyTo: Reply | null = null, clientMessageId?: string) {
  addPending(channelId, content, [], replyTo, clientMessageId);
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
  refused(message, code, reason, details);
  return true;
}

function refused({ clientMessageId, tries }: Pending, code: string, reason: string, details: Refusal["details"]) {
  setCleanup(clientMessageId, () => {});
  if (details?.replyTo) return changePending(clientMessageId, originalGone());
  if (code === DELETED_CODE) return removePending(clientMessageId);
  if (!TRANSIENT_CODES.has(code))
    return changePending(clientMessageId, { state: "failed", reason: errorMessage(code, reason) });
  changePending(clientMessageId, { state: "waiting", tries: tries + 1 });
  retryTimer ??= setTimeout(() => {
    retryTimer = null;
    flush();
  }, backoff(tries));
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
  for (const message of pending.peek()) {
    const { clientMessageId, state } = message;
    if (state !== "waiting") continue;
    if (!publish("/pub/messages", requestOf(message, authorId))) return;
    changePending(clientMessageId, { state: "sent", published: true });
    const timer = setTimeout(() => {
      overdue.add(clientMessageId);
      void askForOverdue();
    }, CONFIRM_TIMEOUT_MS);
    setCleanup(clientMessageId, () => {
      clearTimeout(timer);
      overdue.delete(clientMessageId);
    });
  }
}

/**
 * Sends overdue messages over HTTP, which answers in any case; one after the other, in their order. The server stores each
 * once.
 */
async function askForOverdue() {
  if (asking) return;
  asking = true;
  for (let attempt = 0; ;) {
    const message = pending.peek().find((each) => overdue.has(each.clientMessageId) && each.state === "sent");
    const authorId = me.peek()?.id;
    if (!message || !authorId) break;
    const { clientMessageId } = message;
    try {
      await api.postMessage(requestOf(message, authorId), [], {});
      if (me.peek()?.id !== authorId) break;
      overdue.delete(clientMessageId);
      confirmed(clientMessageId);
      attempt = 0;
    } catch (error) {
      if (me.peek()?.id !== authorId) break;
      const { code, message: reason, transient, details } = error as ApiError;
      if (error instanceof ApiError && !transient) refused(message, code, reason, details);
      else await pauseOrOnline(backoff(attempt++));
    }
  }
  asking = false;
}
