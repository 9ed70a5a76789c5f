// Channels that the user may read.
import * as api from "../api.js";
import { coalesce } from "../backoff.js";
import { openChannelId } from "../route.js";
import { me } from "../session.js";
import { computed, signal } from "../ui.js";
import { retry } from "./retry.js";
import { people } from "./people.js";

/** @typedef {import("../types.js").Channel} Channel */
/** @typedef {import("../types.js").User} User */

/** Minimum interval between two reads of the list. */
const SPACING_MS = 250;

/** Oldest first; null until first loaded. */
export const channels = signal(/** @type {Channel[] | null} */ (null));

export const publicChannels = computed(() => (channels.value ?? []).filter((each) => each.type === "PUBLIC"));

/** Newest message first. */
export const privateChannels = computed(() =>
  (channels.value ?? [])
    .filter((each) => each.type === "PRIVATE")
    .sort((a, b) => Date.parse(b.lastMessageAt) - Date.parse(a.lastMessageAt)),
);

export const openChannel = computed(() => channels.value?.find((each) => each.id === openChannelId.value) ?? null);

export const refreshChannels = coalesce(async () => {
  const userId = me.peek()?.id;
  if (!userId) return;
  const { items } = await retry(() => api.channels(userId));
  if (me.peek()?.id === userId) channels.value = items;
}, SPACING_MS);

/** Adds or replaces a channel before the next read of the list. @param {Channel} channel */
export function putChannel(channel) {
  const known = channels.peek() ?? [];
  channels.value = known.some((each) => each.id === channel.id)
    ? known.map((each) => (each.id === channel.id ? channel : each))
    : [...known, channel];
}

/** @param {string} id */
export function dropChannel(id) {
  channels.value = (channels.peek() ?? []).filter((each) => each.id !== id);
}

/** @param {string} id @param {string} at time of its newest message */
export function touchChannel(id, at) {
  const channel = channels.peek()?.find((each) => each.id === id);
  if (channel && Date.parse(at) > Date.parse(channel.lastMessageAt)) putChannel({ ...channel, lastMessageAt: at });
}

/** The other participants of a private channel, as in the user list. @param {Channel} channel @returns {User[]} */
export function companions(channel) {
  return channel.participants
    .filter((user) => user.id !== me.value?.id)
    .map((user) => people.value?.get(user.id) ?? user);
}

/** The display name of a channel. @param {Channel} channel */
export function channelTitle(channel) {
  if (channel.type === "PUBLIC") return channel.name ?? "";
  return companions(channel).map((user) => user.username).join(", ") || "Only you";
}

/** The private channel of the user with exactly these others. @param {string[]} otherIds */
export function findPrivateChannel(otherIds) {
  const wanted = new Set(otherIds);
  return privateChannels.value.find((channel) => {
    const others = companions(channel);
    return others.length === wanted.size && others.every((user) => wanted.has(user.id));
  });
}

export function clearChannels() {
  channels.value = null;
}
