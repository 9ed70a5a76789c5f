// Channels that the user may read.
import { computed, effect, signal } from "@preact/signals";
import * as api from "../api";
import { coalesce } from "../coalesce";
import { t } from "../i18n";
import { openChannelId } from "../route";
import { me } from "../session";
import { stored } from "../storage";
import { lastMessageTimeOf } from "./activity";
import { retry } from "./retry";
import { people } from "./people";
import type { Channel, User } from "../types";

/** Minimum interval between two reads of the list. */
const SPACING_MS = 250;

/** Oldest first; null until first loaded. */
export const channels = signal<Channel[] | null>(null);

/** Newest message first. */
export const publicChannels = computed(() => byActivity("PUBLIC"));
export const privateChannels = computed(() => byActivity("PRIVATE"));

const byActivity = (type: Channel["type"]) =>
  (channels.value ?? [])
    .filter((each) => each.type === type)
    .sort((a, b) => lastMessageTimeOf(b) - lastMessageTimeOf(a));

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

/** The other participants of a private channel, as in the user list. */
export function companions(channel: Channel): User[] {
  return channel.participants
    .filter((user) => user.id !== me.value?.id)
    .map((user) => people.value?.get(user.id) ?? user);
}

/** Whether it may have a name, and participants add others; the server refuses both for fewer than three. */
export const isGroup = ({ type, participants }: Channel) => type === "PRIVATE" && participants.length >= 3;

export const companionNames = (channel: Channel) =>
  companions(channel)
    .map((user) => user.username)
    .join(", ");

/** The display name of a channel. */
export function channelTitle(channel: Channel) {
  const title = channel.name || companionNames(channel);
  if (title) return title;
  const former = formerNames.value[channel.id];
  return former ? t("{names} (gone)", { names: former.join(", ") }) : t("Nobody else");
}

/** The private channel without a name of the user with exactly these others. */
export function findPrivateChannel(otherIds: string[]) {
  const wanted = new Set(otherIds);
  return privateChannels.value.find((channel) => {
    const others = companions(channel);
    return !channel.name && others.length === wanted.size && others.every((user) => wanted.has(user.id));
  });
}

/** The others in private channels, by channel id. The server forgets those who are gone. */
const formerNames = signal<Record<string, string[]>>({});
const formerKey = (userId: string) => `discodeit.companions.${userId}`;

/**
 * Keeps the names of the others, also over a reload, to name a channel that nobody else is in any more.
 *
 * @returns stops
 */
export function rememberCompanions(userId: string): () => void {
  formerNames.value = parseNames(stored.get(formerKey(userId)));
  return effect(() => {
    if (!channels.value) return;
    const before = formerNames.peek();
    const next: Record<string, string[]> = {};
    for (const channel of privateChannels.value) {
      const names = companions(channel).map((user) => user.username);
      const known = names.length ? names : before[channel.id];
      if (known) next[channel.id] = known;
    }
    const json = JSON.stringify(next);
    if (json === JSON.stringify(before)) return;
    formerNames.value = next;
    stored.set(formerKey(userId), json);
  });
}

function parseNames(json: string | null): Record<string, string[]> {
  try {
    return JSON.parse(json ?? "{}");
  } catch {
    return {};
  }
}

/** Forgets the names of a user who has signed out. */
export function forgetCompanions(userId: string) {
  formerNames.value = {};
  stored.remove(formerKey(userId));
}

export function clearChannels() {
  channels.value = null;
  dropped.clear();
}
