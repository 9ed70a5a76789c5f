// Pending messages. Each is shown at once and removed when the channel delivers the message with the same
// clientMessageId. A resend is harmless: the server stores a clientMessageId once.
import { signal } from "@preact/signals";
import { now } from "../clock";
import { me } from "../session";
import { uuid } from "../text/uuid";
import { release } from "./attachments";
import { keepPreviews } from "./files";
import type { Message } from "../types";
import type { Attachment } from "./attachments";

export interface Pending {
  clientMessageId: string;
  channelId: string;
  content: string;
  files: Attachment[];
  createdAt: string;
  /** Waiting and sent: over STOMP; uploading and stored: with files. */
  state: "waiting" | "sent" | "uploading" | "stored" | "failed";
  /** Transient refusals so far. */
  tries: number;
  /** Of the upload, 0 to 1; a signal, so that a step does not render the list. */
  progress: { value: number };
  /** Of the failure. */
  reason?: string;
}

/** In the order of writing. */
export const pending = signal<Pending[]>([]);

/** Cleanup by clientMessageId. */
const cleanups: Map<string, () => void> = new Map();

export function addPending(channelId: string, content: string, files: Pending["files"]) {
  const message: Pending = {
    clientMessageId: uuid(),
    channelId,
    content,
    files,
    createdAt: new Date(now()).toISOString(),
    state: files.length ? "uploading" : "waiting",
    tries: 0,
    progress: signal(0),
  };
  pending.value = [...pending.peek(), message];
  return message;
}

export const findPending = (clientMessageId: string) =>
  pending.peek().find((each) => each.clientMessageId === clientMessageId);

export function changePending(clientMessageId: string, changes: Partial<Pending>) {
  pending.value = pending
    .peek()
    .map((each) => (each.clientMessageId === clientMessageId ? { ...each, ...changes } : each));
}

/** @param cleanup runs once: on removal or at the next call */
export function setCleanup(clientMessageId: string, cleanup: () => void) {
  cleanups.get(clientMessageId)?.();
  cleanups.set(clientMessageId, cleanup);
}

export function removePending(clientMessageId: string) {
  for (const file of findPending(clientMessageId)?.files ?? []) release(file);
  drop(clientMessageId);
}

function drop(clientMessageId: string) {
  setCleanup(clientMessageId, () => {});
  cleanups.delete(clientMessageId);
  pending.value = pending.peek().filter((each) => each.clientMessageId !== clientMessageId);
}

/** Removes the pending message that a delivered message confirms. */
export function settle(message: Message) {
  if (!message.clientMessageId || message.author?.id !== me.peek()?.id) return;
  const confirmed = findPending(message.clientMessageId);
  if (!confirmed) return;
  keepPreviews(confirmed.files, message.attachments ?? []);
  drop(message.clientMessageId);
}
