// Converts messages to rows, with days and runs of messages by one author.
import { dayKey } from "../text/time";
import type { Pending } from "../state/pending";
import type { BinaryContent, Message, User } from "../types";

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
}

/**
 * @param messages by seq
 * @param hasOlder leaves out the first message: whether it begins a day or a run is not known
 */
export function toRows(messages: Message[], pending: Pending[], self: User | null, hasOlder: boolean): Row[] {
  const arrived = new Set(messages.map((message) => message.clientMessageId));
  const missing = pending.filter((each) => !arrived.has(each.clientMessageId));
  const entries = [...messages.map(stored), ...missing.map((each) => onItsWay(each, self))];
  const rows = entries.map((entry, at) => {
    const before = entries[at - 1];
    const newDay = !before || dayKey(before.createdAt) !== dayKey(entry.createdAt);
    return { key: entry.key, entry, head: newDay || !continues(before, entry), newDay };
  });
  return hasOlder ? rows.slice(1) : rows;
}

function stored(message: Message): Entry {
  const { content, createdAt, author } = message;
  const attachments = message.attachments ?? [];
  return {
    key: message.clientMessageId ?? message.id,
    content,
    createdAt,
    author,
    attachments,
    message,
    pending: null,
  };
}

function onItsWay(pending: Pending, self: User | null): Entry {
  const { content, createdAt } = pending;
  return { key: pending.clientMessageId, content, createdAt, author: self, attachments: [], message: null, pending };
}

function continues(before: Entry, entry: Entry) {
  return before.author?.id === entry.author?.id && Date.parse(entry.createdAt) - Date.parse(before.createdAt) < RUN_MS;
}

const LINE_PX = 22;
const LINE_CHARACTERS = 90;
const PICTURE_PX = 256;
const FILE_PX = 68;

/** A guess of the height of a row that was never shown. */
export function estimateHeight({ entry, head, newDay }: Row) {
  const lines = Math.ceil(entry.content.length / LINE_CHARACTERS);
  const pictures = entry.attachments.some((file) => file.contentType.startsWith("image/"));
  const files = pictures ? PICTURE_PX : entry.attachments.length * FILE_PX;
  return 4 + lines * LINE_PX + files + (head ? 34 : 0) + (newDay ? 44 : 0);
}
