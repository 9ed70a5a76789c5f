// Channels that the user may read.
import { computed, signal } from "@preact/signals";
import * as api from "../api";
import { coalesce } from "../backoff";
import { t } from "../i18n";
import { openChannelId } from "../route";
import { me } from "../session";
import { retry } from "./retry";
import { people } from "./people";
import type { Channel, User } from "../types";

/** Minimum interval between two reads of the list. */
const SPACING_MS = 250;

/** Oldest first; null until first loaded. */
export const channels = signal<Channel[] | null>(null);

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

/** Adds or replaces a channel before the next read of the list. */
export function putChannel(channel: Channel) {
  const known = channels.peek() ?? [];
  channels.value = known.some((each) => each.id === channel.id)
    ? known.map((each) => (each.id === channel.id ? channel : each))
    : [...known, channel];
}

/** Channels that this tab has left or deleted. */
const dropped: Set<string> = new Set();
export const wasDropped = (id: string) => dropped.has(id);

export function dropChannel(id: string) {
  dropped.add(id);
  channels.value = (channels.peek() ?? []).filter((each) => each.id !== id);
}

/** @param at time of its newest message */
export function touchChannel(id: string, at: string) {
  const channel = channels.peek()?.find((each) => each.id === id);
  if (channel && Date.parse(at) > Date.parse(channel.lastMessageAt)) putChannel({ ...channel, lastMessageAt: at });
}

/** The other participants of a private channel, as in the user list. */
export function companions(channel: Channel): User[] {
  return channel.participants
    .filter((user) => user.id !== me.value?.id)
    .map((user) => people.value?.get(user.id) ?? user);
}

/** The display name of a channel. */
export function channelTitle(channel: Channel) {
  if (channel.type === "PUBLIC") return channel.name ?? "";
  return (
    companions(channel)
      .map((user) => user.username)
      .join(", ") || t("Only you")
  );
}

/** The private channel of the user with exactly these others. */
export function findPrivateChannel(otherIds: string[]) {
  const wanted = new Set(otherIds);
  return privateChannels.value.find((channel) => {
    const others = companions(channel);
    return others.length === wanted.size && others.every((user) => wanted.has(user.id));
  });
}

export function clearChannels() {
  channels.value = null;
  dropped.clear();
}
