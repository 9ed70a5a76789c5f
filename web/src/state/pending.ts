// Pending messages. Each is shown at once and removed when the channel delivers the message with the same
// clientMessageId. A resend is harmless: the server stores a clientMessageId once.
import { effect, signal } from "@preact/signals";
import { now } from "../clock";
import { me } from "../session";
import { storedInTab } from "../storage";
import { uuid } from "discodeit-client";
import { release } from "./attachments";
import { keepPreviews } from "./files";
import type { NewMessage } from "../api";
import type { Message, Reply } from "../types";
import type { Attachment } from "./attachments";

export interface Pending {
  clientMessageId: string;
  channelId: string;
  content: string;
  files: Attachment[];
  createdAt: string;
  /** Waiting and sent: over STOMP; uploading: with files; stored: until the channel delivers it; failed: certainly not stored. */
  state: "waiting" | "sent" | "uploading" | "stored" | "failed";
  replyTo: Reply | null;
  /** Transient refusals so far. */
  tries: number;
  /** Of the upload, 0 to 1; a signal, so that a step does not render the list. */
  progress: { value: number };
  /** The server may have it, whatever became of the answer. */
  published?: boolean;
  /** Of the failure. */
  reason?: string;
  /** Files that cannot be read any more, which caused the failure. */
  lost?: Attachment[];
}

/** In the order of writing. */
export const pending = signal<Pending[]>([]);

/** Cleanup by clientMessageId. */
const cleanups: Map<string, () => void> = new Map();

/** @param clientMessageId of an earlier try with the same content, which the server may have */
export function addPending(
  channelId: string,
  content: string,
  files: Pending["files"],
  replyTo: Reply | null,
  clientMessageId = uuid(),
) {
  const message: Pending = {
    clientMessageId,
    channelId,
    content,
    files,
    createdAt: new Date(now()).toISOString(),
    replyTo,
    state: files.length ? "uploading" : "waiting",
    tries: 0,
    progress: signal(0),
  };
  pending.value = [...pending.peek(), message];
  return message;
}

export const findPending = (clientMessageId: string) =>
  pending.peek().find((each) => each.clientMessageId === clientMessageId);

/** The message as the server takes it. */
export const requestOf = ({ content, channelId, clientMessageId, replyTo }: Pending, authorId: string): NewMessage => ({
  content,
  channelId,
  authorId,
  clientMessageId,
  ...(replyTo && { replyTo: replyTo.id }),
});

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

// ---- over a reload and the end of a session --------------------------------------------------------------------------

/** Messages of a user whose session ended by itself. They go out when the same user signs in again in this tab. */
const parked: Map<string, Pending[]> = new Map();

const storageKey = (userId: string) => `discodeit.outbox.${userId}`;

/** Files cannot be stored there. */
const isStorable = ({ files, state }: Pending) => files.length === 0 && state !== "stored";

/**
 * Brings back what waited when the page was reloaded or the session ended, and keeps a copy of what waits from now on.
 *
 * @returns stops
 */
export function openPending(userId: string): () => void {
  const known = new Set(pending.peek().map((each) => each.clientMessageId));
  const waiting = parked.get(userId) ?? read(userId);
  parked.delete(userId);
  pending.value = [...waiting.filter((each) => !known.has(each.clientMessageId)), ...pending.peek()];
  return effect(() => {
    const all = pending.value.filter(isStorable);
    if (all.length) storedInTab.set(storageKey(userId), JSON.stringify(all));
    else storedInTab.remove(storageKey(userId));
  });
}

function read(userId: string): Pending[] {
  try {
    const all: Pending[] = JSON.parse(storedInTab.get(storageKey(userId)) ?? "[]");
    return all.map((each) => ({ ...each, replyTo: each.replyTo ?? null, files: [], progress: signal(0) }));
  } catch {
    return [];
  }
}

/** Puts the messages of a user aside whose session has ended by itself. */
export function parkPending(userId: string) {
  const all = pending.peek().filter(isStorable);
  if (all.length) parked.set(userId, all);
  for (const { clientMessageId } of pending.peek()) removePending(clientMessageId);
}

/** Forgets the messages of a user who has signed out. */
export function clearPending(userId: string) {
  for (const { clientMessageId } of pending.peek()) removePending(clientMessageId);
  storedInTab.remove(storageKey(userId));
}
