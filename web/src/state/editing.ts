// The stored message that the user is editing.
import { computed, signal } from "@preact/signals";
import { restoreDraft } from "./drafts";
import type { Message } from "../types";

export type Edit = { messageId: string; channelId: string; original: string; text: string };

/** Null when none is edited. */
export const editing = signal<Edit | null>(null);

/** Does not change while the user types. */
export const editedId = computed(() => editing.value?.messageId ?? null);

export function startEditing({ id, channelId, content }: Message) {
  editing.value = { messageId: id, channelId, original: content, text: content };
}

/** Ends the editing of this message; another one stays open. */
export function stopEditing(messageId: string) {
  if (editing.peek()?.messageId === messageId) editing.value = null;
}

/**
 * Ends the editing when the message or the channel is gone, and puts a changed text into the draft of the channel.
 *
 * @returns whether the draft changed
 */
export function returnEditToDraft(): boolean {
  const edit = editing.peek();
  editing.value = null;
  if (!edit || edit.text === edit.original) return false;
  restoreDraft(edit.channelId, edit.text, []);
  return true;
}
