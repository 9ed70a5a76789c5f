// The unsent message of each channel. It stays when the user opens another channel, when the channel is gone, and when the
// session ends without a sign-out in this tab.
import { computed, signal } from "@preact/signals";
import { release, withFiles } from "./attachments";
import type { Attachment } from "./attachments";

export interface Draft {
  text: string;
  files: Attachment[];
  /** Why the last files were not added. */
  refused: string | null;
}

const EMPTY: Draft = { text: "", files: [], refused: null };

/** Of the user who is signed in, or was last. By channel id. */
const drafts = signal<Map<string, Draft>>(new Map());
let owner = "";
/** Of other users who were signed in in this tab. */
const others: Map<string, Map<string, Draft>> = new Map();

export function openDrafts(userId: string) {
  others.set(owner, drafts.peek());
  drafts.value = others.get(userId) ?? new Map();
  owner = userId;
}

export const draftOf = (channelId: string): Draft => drafts.value.get(channelId) ?? EMPTY;

export function hasDraft(channelId: string) {
  const { text, files } = draftOf(channelId);
  return text !== "" || files.length > 0;
}

export const anyDraft = computed(() => [...drafts.value.keys()].some(hasDraft));

function change(channelId: string, changes: Partial<Draft>) {
  const next = new Map(drafts.peek());
  const draft = { ...(next.get(channelId) ?? EMPTY), refused: null, ...changes };
  if (draft.text || draft.files.length || draft.refused) next.set(channelId, draft);
  else next.delete(channelId);
  drafts.value = next;
}

export const setText = (channelId: string, text: string) => change(channelId, { text });

export function addFiles(channelId: string, files: File[]) {
  change(channelId, withFiles(peek(channelId).files, files));
}

export const refuseFiles = (channelId: string, refused: string) => change(channelId, { refused });

export function removeFile(channelId: string, attachment: Attachment) {
  release(attachment);
  change(channelId, { files: peek(channelId).files.filter((each) => each !== attachment) });
}

/** Clears the draft of a message that is being sent. */
export const clearDraft = (channelId: string) => change(channelId, EMPTY);

export function discardDraft(channelId: string) {
  for (const each of peek(channelId).files) release(each);
  clearDraft(channelId);
}

/** Puts an unsent message back, before the text written since. */
export function restoreDraft(channelId: string, text: string, files: File[]) {
  const draft = peek(channelId);
  for (const each of draft.files) release(each);
  const both = [text, draft.text].filter(Boolean).join("\n");
  change(channelId, { text: both, ...withFiles([], [...files, ...draft.files.map(({ file }) => file)]) });
}

const peek = (channelId: string) => drafts.peek().get(channelId) ?? EMPTY;

export function clearDrafts() {
  for (const { files } of drafts.peek().values()) for (const each of files) release(each);
  drafts.value = new Map();
}
