// Takes pending messages back: cancels them and puts them into the draft of their channel.
import { restoreDraft } from "./drafts";
import { editing, returnEditToDraft } from "./editing";
import { release } from "./attachments";
import { send } from "./outbox";
import { changePending, findPending, pending, removePending } from "./pending";
import { retryUpload } from "./uploads";

export function returnToDraft(clientMessageId: string) {
  const message = findPending(clientMessageId);
  if (!message) return;
  removePending(clientMessageId);
  restoreDraft(
    message.channelId,
    message.content,
    message.files.filter((each) => !message.lost?.includes(each)).map(({ file }) => file),
    message.published ? message : undefined,
    message.replyTo,
  );
}

/** Sends a message without the files that cannot be read any more. */
export function sendWithoutLost(clientMessageId: string) {
  const message = findPending(clientMessageId);
  if (!message) return;
  const files = message.files.filter((each) => !message.lost?.includes(each));
  if (files.length) {
    for (const each of message.lost ?? []) release(each);
    changePending(clientMessageId, { files, lost: undefined });
    retryUpload(clientMessageId);
  } else {
    removePending(clientMessageId);
    send(message.channelId, message.content, message.replyTo, clientMessageId);
  }
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
