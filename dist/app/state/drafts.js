// The unsent message of each channel. It stays when the user opens another channel, when the channel is gone, and when the
// session ends without a sign-out in this tab.
import { computed, signal } from "../ui.js";
import { release, withFiles } from "./attachments.js";

/** @typedef {import("./attachments.js").Attachment} Attachment */

/**
 * @typedef {object} Draft
 * @property {string} text
 * @property {Attachment[]} files
 * @property {string | null} refused why the last files were not added
 */

/** @type {Draft} */
const EMPTY = { text: "", files: [], refused: null };

/** Of the user who is signed in, or was last. By channel id. */
const drafts = signal(/** @type {Map<string, Draft>} */ (new Map()));
let owner = "";
/** Of other users who were signed in in this tab. @type {Map<string, Map<string, Draft>>} */
const others = new Map();

/** @param {string} userId */
export function openDrafts(userId) {
  others.set(owner, drafts.peek());
  drafts.value = others.get(userId) ?? new Map();
  owner = userId;
}

/** @param {string} channelId @returns {Draft} */
export const draftOf = (channelId) => drafts.value.get(channelId) ?? EMPTY;

/** @param {string} channelId */
export function hasDraft(channelId) {
  const { text, files } = draftOf(channelId);
  return text !== "" || files.length > 0;
}

export const anyDraft = computed(() => [...drafts.value.keys()].some(hasDraft));

/** @param {string} channelId @param {Partial<Draft>} changes */
function change(channelId, changes) {
  const next = new Map(drafts.peek());
  const draft = { ...(next.get(channelId) ?? EMPTY), refused: null, ...changes };
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

/** Clears the draft of a message that is being sent. @param {string} channelId */
export const clearDraft = (channelId) => change(channelId, EMPTY);

/** @param {string} channelId */
export function discardDraft(channelId) {
  for (const each of peek(channelId).files) release(each);
  clearDraft(channelId);
}

/**
 * Puts an unsent message back, before the text written since.
 *
 * @param {string} channelId @param {string} text @param {File[]} files
 */
export function restoreDraft(channelId, text, files) {
  const draft = peek(channelId);
  for (const each of draft.files) release(each);
  const both = [text, draft.text].filter(Boolean).join("\n");
  change(channelId, { text: both, ...withFiles([], [...files, ...draft.files.map(({ file }) => file)]) });
}

/** @param {string} channelId */
const peek = (channelId) => drafts.peek().get(channelId) ?? EMPTY;

export function clearDrafts() {
  for (const { files } of drafts.peek().values()) for (const each of files) release(each);
  drafts.value = new Map();
}
