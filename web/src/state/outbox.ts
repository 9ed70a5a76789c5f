// Messages without files, sent over STOMP. Each is one of `pending`; the client's outbox sends them.
import { Outbox } from "discodeit-client";
import { effect } from "@preact/signals";
import * as api from "../api";
import { errorMessage } from "../i18n/errors";
import { connection, publish } from "../live/link";
import { me } from "../session";
import { addPending, setCleanup, changePending, pending, removePending, requestOf } from "./pending";
import { confirmed, originalGone } from "./uploads";
import type { Refusal } from "discodeit-client";
import type { Pending } from "./pending";
import type { Reply } from "../types";

export type { Refusal };

const outbox = new Outbox<Pending>({
  messages: () => pending.peek(),
  change: (id, changes) => changePending(id, { ...changes, ...(changes.state === "sent" && { published: true }) }),
  publish: (message) => {
    const authorId = me.peek()?.id;
    if (!authorId || !publish("/pub/messages", requestOf(message, authorId))) return false;
    setCleanup(message.clientMessageId, () => outbox.forget(message.clientMessageId));
    return true;
  },
  post: (message) => api.postMessage(requestOf(message, me.peek()?.id ?? ""), [], {}),
  onRefused: ({ clientMessageId }, { code, message, details }) =>
    changePending(
      clientMessageId,
      details?.replyTo ? originalGone() : { state: "failed", reason: errorMessage(code, message) },
    ),
  onStored: ({ clientMessageId }, deleted) => (deleted ? removePending(clientMessageId) : confirmed(clientMessageId)),
});

/** @param clientMessageId of an earlier try with the same content */
export function send(channelId: string, content: string, replyTo: Reply | null = null, clientMessageId?: string) {
  addPending(channelId, content, [], replyTo, clientMessageId);
  outbox.flush();
}

export function resend(clientMessageId: string) {
  changePending(clientMessageId, { state: "waiting", tries: 0, reason: undefined });
  outbox.flush();
}

/** @returns whether a sent message was the cause of the error frame */
export const handleRefusal = (refusal: Refusal) => outbox.refuse(refusal);

/**
 * Sends waiting messages, and resends unconfirmed ones on each new connection.
 *
 * @returns stops
 */
export function startOutbox(): () => void {
  return effect(() => {
    if (connection.value === "on") outbox.connected();
  });
}
