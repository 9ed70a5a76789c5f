// What the user is told of until they say that they have seen it, in this tab or another.
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

/** Between two readings of the list. */
const SPACING_MS = 500;
/** How many ids of deleted ones are remembered, against lists and events that are older than the deletion. */
const REMEMBERED = 2_000;
/** Deletions under way at a time: a channel may leave hundreds behind, and other calls want a connection too. */
const AT_ONCE = 3;

/** Newest first; null until first loaded. */
export const notifications = signal(/** @type {Notification[] | null} */ (null));

/** How many there are about each channel. */
export const countByChannel = computed(() => {
  const counts = /** @type {Map<string, number>} */ (new Map());
  for (const { type, targetId } of notifications.value ?? []) {
    if (type === "NEW_MESSAGE" && targetId) counts.set(targetId, (counts.get(targetId) ?? 0) + 1);
  }
  return counts;
});

/** @type {Set<string>} */
const gone = new Set();
/** Came while the list was being read, which may be older than they are; null while it is not. @type {Notification[] | null} */
let meanwhile = null;
/** @type {Notification[]} */
let toDelete = [];
let deleting = 0;
/** Could not be deleted: left to the reader. @type {Set<string>} */
const stubborn = new Set();

/** Resolves to the place in the event stream that the list was read at. */
export const refreshNotifications = coalesce(async () => {
  const asker = me.peek()?.id;
  meanwhile = [];
  try {
    const { items, cursor } = await retry(api.notifications);
    if (asker && me.peek()?.id === asker) hold([...meanwhile, ...items]);
    return cursor;
  } finally {
    meanwhile = null;
  }
}, SPACING_MS);

/** A new one, or one already known. @param {Notification} notification */
export function putNotification(notification) {
  meanwhile?.push(notification);
  // Until the list is there it would look as if these were all.
  if (notifications.peek()) hold([notification, ...(notifications.peek() ?? [])]);
}

/** Deleted somewhere. @param {string} id */
export function dropNotification(id) {
  gone.add(id);
  if (gone.size > REMEMBERED) gone.delete(/** @type {string} */ (gone.values().next().value));
  notifications.value = notifications.peek()?.filter((each) => each.id !== id) ?? null;
}

/** Says that these have been seen. They go at once. @param {Notification[]} seen */
export function dismiss(seen) {
  for (const { id } of seen) dropNotification(id);
  toDelete.push(...seen);
  while (deleting < AT_ONCE && toDelete.length) void deleteSome();
}

async function deleteSome() {
  deleting++;
  for (let next = toDelete.shift(); next; next = toDelete.shift()) {
    const { id } = next;
    try {
      await retry(() => api.deleteNotification(id));
    } catch (error) {
      // Another tab was quicker.
      if (error instanceof ApiError && error.status === 404) continue;
      toastError(error);
      stubborn.add(id);
      gone.delete(id);
      if (me.peek()?.id === next.receiverId) putNotification(next);
    }
  }
  deleting--;
}

/** Whoever has a channel on screen needs not be told what is new in it. @returns {() => void} ends it */
export function dismissWhatIsRead() {
  return effect(() => {
    if (!visible.value) return;
    const read = notifications.value?.filter((each) => isAbout(each, openChannelId.value) && !stubborn.has(each.id));
    if (read?.length) untracked(() => dismiss(read));
  });
}

/** @param {Notification} notification @param {string | null} channelId */
function isAbout({ type, targetId }, channelId) {
  return type === "NEW_MESSAGE" && targetId === channelId;
}

/** @param {Notification[]} all in any order, some of them perhaps twice */
function hold(all) {
  const byId = new Map(all.filter((each) => !gone.has(each.id)).map((each) => [each.id, each]));
  notifications.value = [...byId.values()].sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
}

export function forgetNotifications() {
  notifications.value = null;
  gone.clear();
  stubborn.clear();
  toDelete = [];
}
