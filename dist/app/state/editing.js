// The stored message that the user is editing.
import { computed, signal } from "../ui.js";
import { restoreDraft } from "./drafts.js";

/** @typedef {{messageId: string, channelId: string, original: string, text: string}} Edit */

/** Null when none is edited. */
export const editing = signal(/** @type {Edit | null} */ (null));

/** Does not change while the user types. */
export const editedId = computed(() => editing.value?.messageId ?? null);

/** @param {import("../types.js").Message} message */
export function startEditing({ id, channelId, content }) {
  editing.value = { messageId: id, channelId, original: content, text: content };
}

/** Ends the editing of this message; another one stays open. @param {string} messageId */
export function stopEditing(messageId) {
  if (editing.peek()?.messageId === messageId) editing.value = null;
}

/**
 * Ends the editing when the message or the channel is gone, and puts a changed text into the draft of the channel.
 *
 * @returns {boolean} whether the draft changed
 */
export function returnEditToDraft() {
  const edit = editing.peek();
  editing.value = null;
  if (!edit || edit.text === edit.original) return false;
  restoreDraft(edit.channelId, edit.text, []);
  return true;
}
