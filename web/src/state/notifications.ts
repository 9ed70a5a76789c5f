// Notifications, until the user dismisses them in this tab or another.
import { effect, signal, untracked } from "@preact/signals";
import * as api from "../api";
import { ApiError } from "../http";
import { coalesce } from "../coalesce";
import { openChannelId } from "../route";
import { me } from "../session";
import { visible } from "../visible";
import { retry } from "./retry";
import { toastError } from "./toasts";
import type { Notification } from "../types";

/** Minimum interval between two reads of the list. */
const SPACING_MS = 500;
/** Ids of deleted notifications, kept because lists and events may be older than the deletion. */
const MAX_DELETED_IDS = 2_000;
/** Concurrent deletions: a channel may have hundreds, and other requests need connections too. */
const MAX_CONCURRENT = 3;

/** Newest first; null until first loaded. */
export const notifications = signal<Notification[] | null>(null);

const deletedIds: Set<string> = new Set();
/** Received during a read of the list, which may be older; null without a read. */
let receivedDuringLoad: Notification[] | null = null;
let toDelete: Notification[] = [];
let deleting = 0;
/** Notifications whose deletion failed; the user may retry. */
const undeletable: Set<string> = new Set();

/** Resolves to the position in the event stream at which the list was read. */
export const refreshNotifications = coalesce(async () => {
  const asker = me.peek()?.id;
  receivedDuringLoad = [];
  try {
    const { items, cursor } = await retry(api.notifications);
    if (asker && me.peek()?.id === asker) setNotifications([...receivedDuringLoad, ...items]);
    return cursor;
  } finally {
    receivedDuringLoad = null;
  }
}, SPACING_MS);

/** Adds or replaces a notification. */
export function putNotification(notification: Notification) {
  receivedDuringLoad?.push(notification);
  // Before the first read, a partial list would look complete.
  if (notifications.peek()) setNotifications([notification, ...(notifications.peek() ?? [])]);
}

/** Removes a notification that was deleted in any tab. */
export function dropNotification(id: string) {
  deletedIds.add(id);
  if (deletedIds.size > MAX_DELETED_IDS) deletedIds.delete(deletedIds.values().next().value as string);
  notifications.value = notifications.peek()?.filter((each) => each.id !== id) ?? null;
}

/** Dismisses notifications: removes them at once and deletes them on the server. */
export function dismiss(seen: Notification[]) {
  for (const { id } of seen) dropNotification(id);
  toDelete.push(...seen);
  while (deleting < MAX_CONCURRENT && toDelete.length) void deleteSome();
}

async function deleteSome() {
  deleting++;
  for (let next = toDelete.shift(); next; next = toDelete.shift()) {
    const { id } = next;
    try {
      await retry(() => api.deleteNotification(id));
    } catch (error) {
      // Another tab has deleted it.
      if (error instanceof ApiError && error.status === 404) continue;
      toastError(error);
      undeletable.add(id);
      deletedIds.delete(id);
      if (me.peek()?.id === next.receiverId) putNotification(next);
    }
  }
  deleting--;
}

/**
 * Dismisses notifications about the visible channel.
 *
 * @returns stops
 */
export function dismissRead(): () => void {
  return effect(() => {
    if (!visible.value) return;
    const read = notifications.value?.filter((each) => isAbout(each, openChannelId.value) && !undeletable.has(each.id));
    if (read?.length) untracked(() => dismiss(read));
  });
}

function isAbout({ type, targetId }: Notification, channelId: string | null) {
  return type === "NEW_MESSAGE" && targetId === channelId;
}

/** @param all in any order, possibly with duplicates */
function setNotifications(all: Notification[]) {
  const byId = new Map(all.filter((each) => !deletedIds.has(each.id)).map((each) => [each.id, each]));
  notifications.value = [...byId.values()].sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
}

export function clearNotifications() {
  notifications.value = null;
  deletedIds.clear();
  undeletable.clear();
  toDelete = [];
}
