// The stored message that the user is editing.
import { computed, signal } from "@preact/signals";
import { restoreDraft } from "./drafts";
import type { Message } from "../types";

export interface Edit {
  messageId: string;
  channelId: string;
  original: string;
  text: string;
  /** Began with a key in the composer, which gets the focus back. */
  fromComposer: boolean;
}

/** Null when none is edited. */
export const editing = signal<Edit | null>(null);

/** Does not change while the user types. */
export const editedId = computed(() => editing.value?.messageId ?? null);

export function startEditing({ id, channelId, content }: Message, fromComposer = false) {
  editing.value = { messageId: id, channelId, original: content, text: content, fromComposer };
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
