// Converts messages to rows, with days and runs of messages by one author.
import { keyOf } from "../state/timeline";
import { dayKey } from "../text/time";
import type { Pending } from "../state/pending";
import type { BinaryContent, Message, Reply, User } from "../types";

/** A longer gap starts a new run. */
const RUN_MS = 7 * 60 * 1000;

/** A message, stored or pending. */
export interface Entry {
  /** The same for a pending message and its stored one. */
  key: string;
  content: string;
  createdAt: string;
  author: User | null;
  /** Stored files. */
  attachments: BinaryContent[];
  replyTo: Reply | null;
  /** Null while pending. */
  message: Message | null;
  pending: Pending | null;
}

export interface Row {
  key: string;
  entry: Entry;
  /** The first of a run. */
  head: boolean;
  /** The first of a day. */
  newDay: boolean;
  /** The first of those that are new to the reader. */
  isNew: boolean;
}

/**
 * @param messages by seq
 * @param hasOlder leaves out the first message: whether it begins a day or a run is not known
 * @param divider the position before the messages that are new to the reader
 */
export function toRows(
  messages: Message[],
  pending: Pending[],
  self: User | null,
  hasOlder: boolean,
  divider: number | null = null,
): Row[] {
  const arrived = new Set(messages.map((message) => message.clientMessageId));
  const missing = pending.filter((each) => !arrived.has(each.clientMessageId));
  const entries = [...messages.map(stored), ...missing.map((each) => onItsWay(each, self))];
  const days = entries.map(({ message, createdAt }) => (message ? dayOf(message) : dayKey(createdAt)));
  // The reader's own are not new to them.
  const firstNew =
    divider === null ? -1 : messages.findIndex(({ seq, author }) => seq > divider && author?.id !== self?.id);
  const rows = entries.map((entry, at) => {
    const before = entries[at - 1];
    const newDay = !before || days[at - 1] !== days[at];
    const isNew = at === firstNew;
    return { key: entry.key, entry, head: newDay || isNew || !continues(before, entry), newDay, isNew };
  });
  return hasOlder ? rows.slice(1) : rows;
}

/** Each arrival makes the rows of all loaded messages anew, and the name of a day is slow. */
const daysOf = new WeakMap<Message, string>();

function dayOf(message: Message) {
  const day = daysOf.get(message) ?? dayKey(message.createdAt);
  daysOf.set(message, day);
  return day;
}

function stored(message: Message): Entry {
  const { content, createdAt, author } = message;
  const attachments = message.attachments ?? [];
  return {
    key: keyOf(message),
    content,
    createdAt,
    author,
    attachments,
    replyTo: message.replyTo ?? null,
    message,
    pending: null,
  };
}

function onItsWay(pending: Pending, self: User | null): Entry {
  const { clientMessageId: key, content, createdAt, replyTo } = pending;
  return { key, content, createdAt, author: self, attachments: [], replyTo, message: null, pending };
}

function continues(before: Entry, entry: Entry) {
  // A reply shows its original, so it needs its author.
  if (entry.replyTo) return false;
  return before.author?.id === entry.author?.id && Date.parse(entry.createdAt) - Date.parse(before.createdAt) < RUN_MS;
}

const LINE_PX = 22;
const LINE_CHARACTERS = 90;
const PICTURE_PX = 256;
const FILE_PX = 68;
const QUOTE_PX = 24;
const REACTIONS_PX = 34;
const DIVIDER_PX = 36;

/** A guess of the height of a row that was never shown. */
export function estimateHeight({ entry, head, newDay, isNew }: Row) {
  const lines = Math.ceil(entry.content.length / LINE_CHARACTERS);
  const pictures = entry.attachments.some((file) => file.contentType.startsWith("image/"));
  const files = pictures ? PICTURE_PX : entry.attachments.length * FILE_PX;
  const more = (entry.replyTo ? QUOTE_PX : 0) + (entry.message?.reactions?.length ? REACTIONS_PX : 0);
  return 4 + lines * LINE_PX + files + more + (head ? 34 : 0) + (newDay ? 44 : 0) + (isNew ? DIVIDER_PX : 0);
}
