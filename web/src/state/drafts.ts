// The unsent message of each channel. It stays when the user opens another channel, when the channel is gone, and when the
// session ends without a sign-out in this tab. A reload keeps its text, in the browser's storage.
import { computed, signal } from "@preact/signals";
import { t } from "../i18n";
import { stored } from "../storage";
import { release, withFiles } from "./attachments";
import { channels } from "./channels";
import type { Channel, Reply } from "../types";
import type { Attachment } from "./attachments";
import type { Pending } from "./pending";

/** A longer text is not stored. */
const MAX_STORED_LENGTH = 100_000;

export interface Draft {
  text: string;
  files: Attachment[];
  /** Why the last files were not added. */
  refused: string | null;
  /** The message that was taken back. The server may have it: sent again unchanged, it keeps its clientMessageId. */
  earlier: { clientMessageId: string; content: string; files: File[]; replyTo?: string } | null;
  /** The message to which it replies. */
  replyTo: Reply | null;
  /** As last read: the channel may be gone after a reload. */
  channel: Channel | null;
}

const EMPTY: Draft = { text: "", files: [], refused: null, earlier: null, replyTo: null, channel: null };

/** Of the user who is signed in, or was last. By channel id. */
const drafts = signal<Map<string, Draft>>(new Map());
let owner = "";
/** Of other users who were signed in in this tab. */
const others: Map<string, Map<string, Draft>> = new Map();

export function openDrafts(userId: string) {
  others.set(owner, drafts.peek());
  drafts.value = others.get(userId) ?? readStored(userId);
  owner = userId;
}

const PREFIX = "discodeit.draft.";
const storageKey = (channelId: string) => `${PREFIX}${owner}.${channelId}`;

function readStored(userId: string): Map<string, Draft> {
  const all: Map<string, Draft> = new Map();
  const prefix = `${PREFIX}${userId}.`;
  for (const key of stored.keys().filter((each) => each.startsWith(prefix))) {
    const draft = parse(stored.get(key));
    if (draft) all.set(key.slice(prefix.length), draft);
  }
  return all;
}

function parse(json: string | null): Draft | null {
  try {
    const { text, channel, replyTo } = JSON.parse(json ?? "null");
    return typeof text === "string" ? { ...EMPTY, text, channel: channel ?? null, replyTo: replyTo ?? null } : null;
  } catch {
    return null;
  }
}

function store(channelId: string, draft: Draft | undefined) {
  const key = storageKey(channelId);
  const { text = "", channel = null, replyTo = null } = draft ?? {};
  if (text.length <= MAX_STORED_LENGTH && (text || replyTo || stored.get(key) !== null)) {
    // An empty text before the removal: other tabs must not take a sign-out for it.
    stored.set(key, JSON.stringify({ text, channel, replyTo }));
  }
  if (!text && !replyTo) stored.remove(key);
}

/** Stores all drafts again, after another tab has signed out and removed them. */
export function storeDrafts() {
  for (const [channelId, draft] of drafts.peek()) store(channelId, draft);
}

/** Another tab has changed or sent a draft: follows unless this tab has a text of its own. */
addEventListener("storage", ({ key, oldValue, newValue }) => {
  const prefix = `${PREFIX}${owner}.`;
  const next = parse(newValue);
  if (!owner || !key?.startsWith(prefix) || !next) return;
  const channelId = key.slice(prefix.length);
  const draft = peek(channelId);
  if (draft.files.length || draft.text !== (parse(oldValue)?.text ?? "")) return;
  put(channelId, { ...draft, text: next.text, replyTo: next.replyTo });
});

/** What remains of a channel to name it when it is gone. */
function snapshot(channelId: string): Channel | null {
  const channel = channels.peek()?.find((each) => each.id === channelId);
  if (!channel) return null;
  const participants = channel.participants.map(({ id, username }) => ({
    id,
    username,
    email: "",
    online: null,
    role: "USER" as const,
  }));
  return { ...channel, participants };
}

/** The channels of stored drafts. */
export const draftChannels = () => [...drafts.peek().values()].flatMap(({ channel }) => channel ?? []);

export const draftOf = (channelId: string): Draft => drafts.value.get(channelId) ?? EMPTY;

export function hasDraft(channelId: string) {
  const { text, files } = draftOf(channelId);
  return text !== "" || files.length > 0;
}

export const anyDraft = computed(() => [...drafts.value.keys()].some(hasDraft));

function change(channelId: string, changes: Partial<Draft>) {
  const draft = { ...peek(channelId), refused: null, ...changes };
  draft.channel = snapshot(channelId) ?? draft.channel;
  put(channelId, draft);
  store(channelId, drafts.peek().get(channelId));
}

function put(channelId: string, draft: Draft) {
  const next = new Map(drafts.peek());
  if (draft.text || draft.files.length || draft.refused || draft.replyTo) next.set(channelId, draft);
  else next.delete(channelId);
  drafts.value = next;
}

export const setText = (channelId: string, text: string) => change(channelId, { text });

export const setReply = (channelId: string, replyTo: Reply | null) => change(channelId, { replyTo });

/** @returns whether the draft replied to this message, which is gone */
export function dropReply(channelId: string, messageId: string) {
  if (peek(channelId).replyTo?.id !== messageId) return false;
  setReply(channelId, null);
  return true;
}

/** @param folders the names of those that were chosen with the files */
export function addFiles(channelId: string, more: File[], folders: string[] = []) {
  const { files, refused } = withFiles(peek(channelId).files, more);
  const reasons = folders.map((name) => t("“{name}” is a folder: only files can be attached.", { name }));
  change(channelId, { files, refused: [...reasons, refused].filter(Boolean).join(" ") || null });
}

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

/** The clientMessageId for the draft: the earlier one while nothing has changed. */
export function earlierId(channelId: string, content: string): string | undefined {
  const { earlier, files, replyTo } = peek(channelId);
  const same =
    earlier?.content === content &&
    earlier.replyTo === replyTo?.id &&
    earlier.files.length === files.length &&
    earlier.files.every((file, at) => file === files[at].file);
  return same ? earlier?.clientMessageId : undefined;
}

/**
 * Puts an unsent message back, before the text written since.
 *
 * @param taken the message, if the server may have it
 */
export function restoreDraft(
  channelId: string,
  text: string,
  files: File[],
  taken?: Pending,
  replyTo: Reply | null = null,
) {
  const draft = peek(channelId);
  for (const each of draft.files) release(each);
  const both = [text, draft.text].filter(Boolean).join("\n");
  change(channelId, {
    text: both,
    ...withFiles([], [...files, ...draft.files.map(({ file }) => file)]),
    replyTo: replyTo ?? draft.replyTo,
    earlier: taken
      ? { clientMessageId: taken.clientMessageId, content: text, files, replyTo: taken.replyTo?.id }
      : null,
  });
}

const peek = (channelId: string) => drafts.peek().get(channelId) ?? EMPTY;

/** Forgets the drafts of a user who has signed out. */
export function clearDrafts() {
  for (const key of stored.keys()) if (key.startsWith(`${PREFIX}${owner}.`)) stored.remove(key);
  for (const { files } of drafts.peek().values()) for (const each of files) release(each);
  drafts.value = new Map();
}
