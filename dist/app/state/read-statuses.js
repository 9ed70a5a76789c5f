// How the user reads each channel; of that, whether they want to be notified of its new messages.
import * as api from "../api.js";
import { ApiError } from "../http.js";
import { coalesce } from "../backoff.js";
import { me } from "../session.js";
import { signal } from "../ui.js";
import { retry } from "./retry.js";

/** @typedef {import("../types.js").ReadStatus} ReadStatus */
/** @typedef {import("../types.js").Channel} Channel */

/** Between two readings of the list. */
const SPACING_MS = 500;

/** By channel id; null until first loaded. */
const readStatuses = signal(/** @type {Map<string, ReadStatus> | null} */ (null));

/** Resolves to the place in the event stream that the list was read at. */
export const refreshReadStatuses = coalesce(async () => {
  const userId = me.peek()?.id;
  if (!userId) return null;
  const { items, cursor } = await retry(() => api.readStatuses(userId));
  if (me.peek()?.id === userId) readStatuses.value = new Map(items.map((each) => [each.channelId, each]));
  return cursor;
}, SPACING_MS);

/** Where nothing was ever said, the server's own rule holds. @param {Channel} channel */
export const notifies = (channel) =>
  readStatuses.value?.get(channel.id)?.notificationEnabled ?? channel.type === "PRIVATE";

/** @param {Channel} channel @param {boolean} on */
export async function setNotifies(channel, on) {
  const status = readStatuses.peek()?.get(channel.id) ?? (await begin(channel.id));
  put(status.notificationEnabled === on ? status : await api.updateReadStatus(status.id, on));
}

/** A read status must exist before it can be changed. @param {string} channelId @returns {Promise<ReadStatus>} */
async function begin(channelId) {
  try {
    return await api.createReadStatus(me.peek()?.id ?? "", channelId, new Date().toISOString());
  } catch (error) {
    // Another tab was quicker, or the channel is new and the server made one.
    if (!(error instanceof ApiError && error.status === 409)) throw error;
    await refreshReadStatuses();
    const known = readStatuses.peek()?.get(channelId);
    if (!known) throw error;
    return known;
  }
}

/** @param {ReadStatus} status */
function put(status) {
  readStatuses.value = new Map(readStatuses.peek()).set(status.channelId, status);
}

export function forgetReadStatuses() {
  readStatuses.value = null;
}
