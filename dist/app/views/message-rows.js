// Converts messages to rows: days, and runs of messages by one author.
import { dayKey } from "../text/time.js";

/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").User} User */
/** @typedef {import("../state/pending.js").Pending} Pending */

/** A longer gap starts a new run. */
const RUN_MS = 7 * 60 * 1000;

/**
 * @typedef {object} Entry a message, stored or pending
 * @property {string} key the same for a pending message and its stored one
 * @property {string} content
 * @property {string} createdAt
 * @property {User | null} author
 * @property {import("../types.js").BinaryContent[]} attachments stored files
 * @property {Message | null} message null while pending
 * @property {Pending | null} pending
 *
 * @typedef {{kind: "day", key: string, instant: string} | {kind: "entry", key: string, entry: Entry, head: boolean}} Row
 */

/**
 * @param {Message[]} messages by seq
 * @param {Pending[]} pending
 * @param {User | null} self
 * @returns {Row[]}
 */
export function toRows(messages, pending, self) {
  const arrived = new Set(messages.map((message) => message.clientMessageId));
  const missing = pending.filter((each) => !arrived.has(each.clientMessageId));
  const entries = [...messages.map(stored), ...missing.map((each) => onItsWay(each, self))];
  /** @type {Row[]} */
  const rows = [];
  /** @type {Entry | null} */
  let before = null;
  for (const entry of entries) {
    const newDay = !before || dayKey(before.createdAt) !== dayKey(entry.createdAt);
    if (newDay) rows.push({ kind: "day", key: `day-${dayKey(entry.createdAt)}`, instant: entry.createdAt });
    rows.push({ kind: "entry", key: entry.key, entry, head: newDay || !before || !continues(before, entry) });
    before = entry;
  }
  return rows;
}

/** @param {Message} message @returns {Entry} */
function stored(message) {
  const { content, createdAt, author } = message;
  const attachments = message.attachments ?? [];
  return { key: message.clientMessageId ?? message.id, content, createdAt, author, attachments, message, pending: null };
}

/** @param {Pending} pending @param {User | null} self @returns {Entry} */
function onItsWay(pending, self) {
  const { content, createdAt } = pending;
  return { key: pending.clientMessageId, content, createdAt, author: self, attachments: [], message: null, pending };
}

/** @param {Entry} before @param {Entry} entry */
function continues(before, entry) {
  return (
    before.author?.id === entry.author?.id && Date.parse(entry.createdAt) - Date.parse(before.createdAt) < RUN_MS
  );
}
