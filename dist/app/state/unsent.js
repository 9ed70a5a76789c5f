// Takes pending messages back: cancels them and puts them into the draft of their channel.
import { restoreDraft } from "./drafts.js";
import { editing, returnEditToDraft } from "./editing.js";
import { findPending, pending, removePending } from "./pending.js";

/** @param {string} clientMessageId */
export function returnToDraft(clientMessageId) {
  const message = findPending(clientMessageId);
  if (!message) return;
  removePending(clientMessageId);
  restoreDraft(message.channelId, message.content, message.files.map(({ file }) => file));
}

/** Takes back all that is not stored yet, and the edited text. @param {string} [channelId] all channels without it */
export function returnAllToDraft(channelId) {
  const mine = (/** @type {{channelId: string}} */ each) => channelId === undefined || each.channelId === channelId;
  const edit = editing.peek();
  if (edit && mine(edit)) returnEditToDraft();
  // The newest first, because each goes before the text of the draft.
  for (const { clientMessageId, state } of pending.peek().filter(mine).reverse()) {
    if (state === "stored") removePending(clientMessageId);
    else returnToDraft(clientMessageId);
  }
}
