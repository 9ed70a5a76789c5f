// How far the user has read each channel, and which messages notify.
import { signal } from "@preact/signals";
import * as api from "../api";
import { ApiError } from "../http";
import { coalesce } from "../coalesce";
import { now } from "../clock";
import { me } from "../session";
import { lastSeqOf } from "./activity";
import { retry } from "./retry";
import { toastError } from "./toasts";
import type { Channel, NotificationLevel, ReadStatus } from "../types";

/** Minimum interval between two reads of the list. */
const SPACING_MS = 500;
/** Between two positions of one channel that are sent to the server. */
const SEND_SPACING_MS = 1_000;

/** By channel id; null until first loaded. */
const readStatuses = signal<Map<string, ReadStatus> | null>(null);
/** Positions that the server may not have yet, by channel id, with the time of the last request. */
const unsaved: Map<string, { seq: number; sentAt: number; sending: boolean }> = new Map();
/** The last change of the level of each channel, by channel id, with its place among the ended ones. */
const levelChanges: Map<string, { endedAs: number }> = new Map();
let levelChangesEnded = 0;

/** Resolves to the position in the event stream at which the list was read. */
export const refreshReadStatuses = coalesce(async () => {
  const userId = me.peek()?.id;
  if (!userId) return null;
  let ended = 0;
  const { items, cursor } = await retry(() => {
    ended = levelChangesEnded;
    return api.readStatuses(userId);
  });
  if (me.peek()?.id === userId) readStatuses.value = new Map(items.map((each) => [each.channelId, merge(each, ended)]));
  return cursor;
}, SPACING_MS);

/**
 * A status from the server, unless it is older than what this tab has: the user has read further, or has chosen a level.
 *
 * @param ended Number of level changes that had ended before the status was asked for.
 */
function merge(status: ReadStatus, ended: number): ReadStatus {
  const held = readStatuses.peek()?.get(status.channelId);
  if (held?.id !== status.id) return status;
  const { lastReadSeq, mentions, unreadDeleted } = held.lastReadSeq > status.lastReadSeq ? held : status;
  const change = levelChanges.get(status.channelId);
  const { notificationLevel } = change && change.endedAs > ended ? held : status;
  return { ...status, lastReadSeq, mentions, unreadDeleted, notificationLevel };
}

function put(status: ReadStatus) {
  readStatuses.value = new Map(readStatuses.peek()).set(status.channelId, status);
}

export const haveReadStatuses = () => readStatuses.value !== null;

export const readStatusOf = (channelId: string) => readStatuses.value?.get(channelId);

// ---- unread ----------------------------------------------------------------------------------------------------------

export interface Unread {
  messages: number;
  /** Of these, the ones that mention the user. */
  mentions: number;
}

const NOTHING: Unread = { messages: 0, mentions: 0 };

/** Nothing in a channel that the user has muted. */
export function unreadOf(channel: Channel): Unread {
  const status = readStatusOf(channel.id);
  if (!status || status.notificationLevel === "NONE") return NOTHING;
  const messages = Math.max(0, lastSeqOf(channel) - status.lastReadSeq - (status.unreadDeleted ?? 0));
  return { messages, mentions: Math.min(messages, status.mentions) };
}

/** Marks the messages up to a position as read, in all tabs and on the server. */
export function markRead(channelId: string, seq: number) {
  const status = readStatuses.peek()?.get(channelId);
  if (!status || seq <= status.lastReadSeq) return;
  apply(channelId, seq);
  tabs?.postMessage({ userId: status.userId, channelId, seq });
  const waiting = unsaved.get(channelId);
  if (waiting) waiting.seq = seq;
  else unsaved.set(channelId, { seq, sentAt: -Infinity, sending: false });
  void save(channelId);
}

/** Takes a deletion. Only the channels that were opened last report theirs; the server counts those of the others. */
export function countDeleted(channelId: string, seq: number) {
  const status = readStatuses.peek()?.get(channelId);
  if (status && seq > status.lastReadSeq) put({ ...status, unreadDeleted: (status.unreadDeleted ?? 0) + 1 });
}

/** After the newest message is no mention, and no deleted message. */
function apply(channelId: string, seq: number) {
  const status = readStatuses.peek()?.get(channelId);
  if (status && seq > status.lastReadSeq) put({ ...status, lastReadSeq: seq, mentions: 0, unreadDeleted: 0 });
}

/** Takes a status from the event stream, which a later reading of this tab may have overtaken. */
export function putReadStatus(status: ReadStatus) {
  if (me.peek()?.id !== status.userId) return;
  // A list on its way may be older.
  if (!readStatuses.peek()) return void refreshReadStatuses().catch(toastError);
  const held = readStatuses.peek()?.get(status.channelId);
  if (held && status.lastReadSeq <= held.lastReadSeq) return;
  // The level in the event may be from before a change in this tab.
  put({ ...status, notificationLevel: held?.notificationLevel ?? status.notificationLevel });
}

async function save(channelId: string) {
  const position = unsaved.get(channelId);
  if (!position || position.sending) return;
  position.sending = true;
  const userId = me.peek()?.id;
  for (let saved = -1; position.seq > saved && me.peek()?.id === userId;) {
    await new Promise((done) => setTimeout(done, position.sentAt + SEND_SPACING_MS - performance.now()));
    const status = readStatuses.peek()?.get(channelId);
    if (!status || me.peek()?.id !== userId) break;
    position.sentAt = performance.now();
    saved = position.seq;
    try {
      const ended = levelChangesEnded;
      const answer = await retry(() => api.updateReadStatus(status.id, { newLastReadSeq: saved }));
      if (me.peek()?.id === userId) put(merge(answer, ended));
    } catch (error) {
      // The channel is gone, or the session.
      console.warn("saving a position failed:", error);
      break;
    }
  }
  position.sending = false;
  // Until then, a further position waits for the spacing.
  setTimeout(
    () => !position.sending && unsaved.get(channelId) === position && unsaved.delete(channelId),
    SEND_SPACING_MS,
  );
}

/** Positions read in other tabs; null where storage is blocked. */
const tabs = openTabs();
if (tabs) {
  tabs.onmessage = ({ data: { userId, channelId, seq } }) => {
    if (me.peek()?.id === userId) apply(channelId, seq);
  };
}

function openTabs(): BroadcastChannel | null {
  try {
    return new BroadcastChannel("discodeit.read");
  } catch {
    return null;
  }
}

// ---- notification levels ---------------------------------------------------------------------------------------------

/** The level of a channel; without a read status, the server's default applies. */
export const levelOf = (channel: Channel): NotificationLevel =>
  readStatusOf(channel.id)?.notificationLevel ?? (channel.type === "PRIVATE" ? "ALL" : "NONE");

/** Changes of levels are sent one after the other, so that the server keeps the last one. */
let sending: Promise<unknown> = Promise.resolve();

/** Changes the level at once, and back when the server refuses. */
export async function setLevel(channel: Channel, level: NotificationLevel) {
  const userId = me.peek()?.id;
  const status = readStatuses.peek()?.get(channel.id) ?? (await create(channel, level));
  const show = (notificationLevel: NotificationLevel) => {
    const held = readStatuses.peek()?.get(channel.id);
    if (held) put({ ...held, notificationLevel });
  };
  show(level);
  const change = { endedAs: Infinity };
  levelChanges.set(channel.id, change);
  const answer = sending
    .catch(() => {})
    .then(() => api.updateReadStatus(status.id, { newNotificationLevel: level }))
    .finally(() => (change.endedAs = ++levelChangesEnded));
  sending = answer;
  try {
    const stored = await answer;
    if (me.peek()?.id === userId) put(merge(stored, change.endedAs));
  } catch (error) {
    if (me.peek()?.id === userId && levelChanges.get(channel.id) === change) show(status.notificationLevel);
    throw error;
  }
}

// ---- channels without a read status ----------------------------------------------------------------------------------

let creating = false;

/**
 * Creates the missing read statuses, one after the other: the server counts unread messages and mentions only with one.
 *
 * Messages from before the user last read anything count as read: a new user begins with nothing unread.
 */
export async function createReadStatuses(channels: () => Channel[]) {
  const userId = me.peek()?.id;
  if (creating) return;
  creating = true;
  /** Of channels that are gone. */
  const failed: Set<string> = new Set();
  const next = () => channels().find(({ id }) => !readStatuses.peek()?.has(id) && !failed.has(id));
  for (let channel = next(); channel && readStatuses.peek() && me.peek()?.id === userId; channel = next()) {
    const { id } = channel;
    await retry(() => create(channel as Channel)).catch((error: unknown) => {
      console.warn("creating a read status failed:", error);
      failed.add(id);
    });
  }
  creating = false;
}

/** In public channels, mentions notify. */
async function create(channel: Channel, level?: NotificationLevel): Promise<ReadStatus> {
  const userId = me.peek()?.id ?? "";
  const notificationLevel = level ?? (channel.type === "PUBLIC" ? "MENTIONS" : undefined);
  const reads = [...(readStatuses.peek()?.values() ?? [])].map((each) => Date.parse(each.lastReadAt));
  const lastReadAt = new Date(reads.length ? Math.min(now(), Math.max(...reads)) : now()).toISOString();
  try {
    const status = await api.createReadStatus({ userId, channelId: channel.id, lastReadAt, notificationLevel });
    if (me.peek()?.id === userId) {
      put(status);
      // The server takes the newest message at the instant that is not deleted.
      if (!reads.length) markRead(channel.id, lastSeqOf(channel));
    }
    return status;
  } catch (error) {
    // Another tab has created it, or the server has, for a new channel.
    if (!(error instanceof ApiError && error.status === 409)) throw error;
    await refreshReadStatuses();
    const known = readStatuses.peek()?.get(channel.id);
    if (!known) throw error;
    return known;
  }
}

export function clearReadStatuses() {
  readStatuses.value = null;
  unsaved.clear();
  levelChanges.clear();
}
