// What is being written in each channel: it stays when the reader goes to another.
import { signal } from "../ui.js";
import { release, withFiles } from "./attachments.js";

/** @typedef {import("./attachments.js").Attachment} Attachment */

/**
 * @typedef {object} Draft
 * @property {string} text
 * @property {Attachment[]} files
 * @property {string | null} refused why files could not be added just now
 */

/** @type {Draft} */
const EMPTY = { text: "", files: [], refused: null };

/** By channel id. */
const drafts = signal(/** @type {Map<string, Draft>} */ (new Map()));

/** @param {string} channelId @returns {Draft} */
export const draftOf = (channelId) => drafts.value.get(channelId) ?? EMPTY;

/** @param {string} channelId @param {Partial<Draft>} news */
function change(channelId, news) {
  const next = new Map(drafts.peek());
  const draft = { ...(next.get(channelId) ?? EMPTY), refused: null, ...news };
  if (draft.text || draft.files.length || draft.refused) next.set(channelId, draft);
  else next.delete(channelId);
  drafts.value = next;
}

/** @param {string} channelId @param {string} text */
export const setText = (channelId, text) => change(channelId, { text });

/** @param {string} channelId @param {File[]} files */
export function addFiles(channelId, files) {
  change(channelId, withFiles(peek(channelId).files, files));
}

/** @param {string} channelId @param {string} refused */
export const refuseFiles = (channelId, refused) => change(channelId, { refused });

/** @param {string} channelId @param {Attachment} attachment */
export function removeFile(channelId, attachment) {
  release(attachment);
  change(channelId, { files: peek(channelId).files.filter((each) => each !== attachment) });
}

/** Empties it: what was in it is on its way. @param {string} channelId */
export const clearDraft = (channelId) => change(channelId, EMPTY);

/**
 * Puts back what was not sent after all, before what has been written since.
 *
 * @param {string} channelId @param {string} text @param {File[]} files
 */
export function restoreDraft(channelId, text, files) {
  const since = peek(channelId);
  for (const each of since.files) release(each);
  const both = [text, since.text].filter(Boolean).join("\n");
  change(channelId, { text: both, ...withFiles([], [...files, ...since.files.map(({ file }) => file)]) });
}

/** @param {string} channelId */
const peek = (channelId) => drafts.peek().get(channelId) ?? EMPTY;

export function forgetDrafts() {
  for (const { files } of drafts.peek().values()) for (const each of files) release(each);
  drafts.value = new Map();
}
