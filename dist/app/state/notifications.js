// Notifications, until the user dismisses them in this tab or another.
import * as api from "../api.js";
import { ApiError } from "../http.js";
import { coalesce } from "../backoff.js";
import { openChannelId } from "../route.js";
import { me } from "../session.js";
import { computed, effect, signal, untracked } from "../ui.js";
import { visible } from "../visible.js";
import { retry } from "./retry.js";
import { toastError } from "./toasts.js";

/** @typedef {import("../types.js").Notification} Notification */

/** Minimum interval between two reads of the list. */
const SPACING_MS = 500;
/** Ids of deleted notifications, kept because lists and events may be older than the deletion. */
const MAX_DELETED_IDS = 2_000;
/** Concurrent deletions: a channel may have hundreds, and other requests need connections too. */
const MAX_CONCURRENT = 3;

/** Newest first; null until first loaded. */
export const notifications = signal(/** @type {Notification[] | null} */ (null));

/** Number of notifications by channel. */
export const countByChannel = computed(() => {
  const counts = /** @type {Map<string, number>} */ (new Map());
  for (const { type, targetId } of notifications.value ?? []) {
    if (type === "NEW_MESSAGE" && targetId) counts.set(targetId, (counts.get(targetId) ?? 0) + 1);
  }
  return counts;
});

/** @type {Set<string>} */
const deletedIds = new Set();
/** Received during a read of the list, which may be older; null without a read. @type {Notification[] | null} */
let receivedDuringLoad = null;
/** @type {Notification[]} */
let toDelete = [];
let deleting = 0;
/** Notifications whose deletion failed; the user may retry. @type {Set<string>} */
const undeletable = new Set();

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

/** Adds or replaces a notification. @param {Notification} notification */
export function putNotification(notification) {
  receivedDuringLoad?.push(notification);
  // Before the first read, a partial list would look complete.
  if (notifications.peek()) setNotifications([notification, ...(notifications.peek() ?? [])]);
}

/** Removes a notification that was deleted in any tab. @param {string} id */
export function dropNotification(id) {
  deletedIds.add(id);
  if (deletedIds.size > MAX_DELETED_IDS) deletedIds.delete(/** @type {string} */ (deletedIds.values().next().value));
  notifications.value = notifications.peek()?.filter((each) => each.id !== id) ?? null;
}

/** Dismisses notifications: removes them at once and deletes them on the server. @param {Notification[]} seen */
export function dismiss(seen) {
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

/** Dismisses notifications about the visible channel. @returns {() => void} stops */
export function dismissRead() {
  return effect(() => {
    if (!visible.value) return;
    const read = notifications.value?.filter((each) => isAbout(each, openChannelId.value) && !undeletable.has(each.id));
    if (read?.length) untracked(() => dismiss(read));
  });
}

/** @param {Notification} notification @param {string | null} channelId */
function isAbout({ type, targetId }, channelId) {
  return type === "NEW_MESSAGE" && targetId === channelId;
}

/** @param {Notification[]} all in any order, possibly with duplicates */
function setNotifications(all) {
  const byId = new Map(all.filter((each) => !deletedIds.has(each.id)).map((each) => [each.id, each]));
  notifications.value = [...byId.values()].sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
}

export function clearNotifications() {
  notifications.value = null;
  deletedIds.clear();
  undeletable.clear();
  toDelete = [];
}
