// Read statuses of the user: whether a channel's messages cause notifications.
import { signal } from "@preact/signals";
import * as api from "../api";
import { ApiError } from "../http";
import { coalesce } from "../backoff";
import { now } from "../clock";
import { me } from "../session";
import { retry } from "./retry";
import type { Channel, ReadStatus } from "../types";

/** Minimum interval between two reads of the list. */
const SPACING_MS = 500;

/** By channel id; null until first loaded. */
const readStatuses = signal<Map<string, ReadStatus> | null>(null);

/** Resolves to the position in the event stream at which the list was read. */
export const refreshReadStatuses = coalesce(async () => {
  const userId = me.peek()?.id;
  if (!userId) return null;
  const { items, cursor } = await retry(() => api.readStatuses(userId));
  if (me.peek()?.id === userId) readStatuses.value = new Map(items.map((each) => [each.channelId, each]));
  return cursor;
}, SPACING_MS);

/** Whether a channel notifies; without a read status, the server's default applies. */
export const notifies = (channel: Channel) =>
  readStatuses.value?.get(channel.id)?.notificationEnabled ?? channel.type === "PRIVATE";

export async function setNotifies(channel: Channel, on: boolean) {
  const status = readStatuses.peek()?.get(channel.id) ?? (await create(channel.id));
  put(status.notificationEnabled === on ? status : await api.updateReadStatus(status.id, on));
}

/** A read status must exist before it can be changed. */
async function create(channelId: string): Promise<ReadStatus> {
  try {
    return await api.createReadStatus(me.peek()?.id ?? "", channelId, new Date(now()).toISOString());
  } catch (error) {
    // Another tab has created it, or the server has, for a new channel.
    if (!(error instanceof ApiError && error.status === 409)) throw error;
    await refreshReadStatuses();
    const known = readStatuses.peek()?.get(channelId);
    if (!known) throw error;
    return known;
  }
}

function put(status: ReadStatus) {
  readStatuses.value = new Map(readStatuses.peek()).set(status.channelId, status);
}

export function clearReadStatuses() {
  readStatuses.value = null;
}
