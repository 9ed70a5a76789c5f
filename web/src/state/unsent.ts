// Takes pending messages back: cancels them and puts them into the draft of their channel.
import { restoreDraft } from "./drafts";
import { editing, returnEditToDraft } from "./editing";
import { findPending, pending, removePending } from "./pending";

export function returnToDraft(clientMessageId: string) {
  const message = findPending(clientMessageId);
  if (!message) return;
  removePending(clientMessageId);
  restoreDraft(
    message.channelId,
    message.content,
    message.files.map(({ file }) => file),
    message.published ? message : undefined,
    message.replyTo,
  );
}

/** Takes back the messages with files and the edited text, when the session ends: text can wait by itself. */
export function returnFilesToDraft() {
  if (editing.peek()) returnEditToDraft();
  for (const { clientMessageId, files, state } of pending.peek().toReversed()) {
    if (files.length && state !== "stored") returnToDraft(clientMessageId);
  }
}

/**
 * Takes back all that is not stored yet, and the edited text.
 *
 * @param channelId all channels without it
 */
export function returnAllToDraft(channelId?: string) {
  const mine = (each: { channelId: string }) => channelId === undefined || each.channelId === channelId;
  const edit = editing.peek();
  if (edit && mine(edit)) returnEditToDraft();
  // The newest first, because each goes before the text of the draft.
  for (const { clientMessageId, state } of pending.peek().filter(mine).reverse()) {
    if (state === "stored") removePending(clientMessageId);
    else returnToDraft(clientMessageId);
  }
}
