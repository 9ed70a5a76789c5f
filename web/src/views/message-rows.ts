// Converts messages to rows: days, and runs of messages by one author.
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

export type Row =
  { kind: "day"; key: string; instant: string } | { kind: "entry"; key: string; entry: Entry; head: boolean };

/** @param messages by seq */
export function toRows(messages: Message[], pending: Pending[], self: User | null): Row[] {
  const arrived = new Set(messages.map((message) => message.clientMessageId));
  const missing = pending.filter((each) => !arrived.has(each.clientMessageId));
  const entries = [...messages.map(stored), ...missing.map((each) => onItsWay(each, self))];
  const rows: Row[] = [];
  let before: Entry | null = null;
  for (const entry of entries) {
    const newDay = !before || dayKey(before.createdAt) !== dayKey(entry.createdAt);
    if (newDay) rows.push({ kind: "day", key: `day-${dayKey(entry.createdAt)}`, instant: entry.createdAt });
    rows.push({ kind: "entry", key: entry.key, entry, head: newDay || !before || !continues(before, entry) });
    before = entry;
  }
  return rows;
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
