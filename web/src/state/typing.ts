// Users who are typing. Nothing is stored: notices repeat while a user types and expire shortly after the last.
import { signal } from "@preact/signals";
import { publish } from "../live/link";
import { me } from "../session";

/** The server forwards one notice per 2 s; a little longer, because it drops early ones. */
const SEND_INTERVAL_MS = 2_200;
/** Longer than the interval between two notices, so that a late one leaves no gap. */
const EXPIRES_AFTER_MS = 4_000;
/** A notice sent before a message may arrive after it, because they take different paths. */
const IGNORE_AFTER_MESSAGE_MS = 700;

export type Typist = { channelId: string; userId: string; username: string };

/** Of all channels, in the order of their first notice. */
export const typists = signal<Typist[]>([]);

/** Expiry timers by channel and user. */
const expiries: Map<string, ReturnType<typeof setTimeout>> = new Map();
/** Authors of recent messages, by channel and user. */
const recentAuthors: Map<string, ReturnType<typeof setTimeout>> = new Map();
let sentChannel = "";
let sentAt = -Infinity;

/** Sends a typing notice, at most once per interval. */
export function sendTyping(channelId: string) {
  if (sentChannel === channelId && performance.now() - sentAt < SEND_INTERVAL_MS) return;
  if (!publish("/pub/typing", { channelId })) return;
  sentChannel = channelId;
  sentAt = performance.now();
}

/** @param typist also this user in another tab, who is ignored */
export function receiveTyping({ channelId, userId, username }: Typist) {
  const key = `${channelId} ${userId}`;
  if (userId === me.peek()?.id || recentAuthors.has(key)) return;
  clearTimeout(expiries.get(key));
  expiries.set(
    key,
    setTimeout(() => stop(channelId, userId), EXPIRES_AFTER_MS),
  );
  if (!typists.peek().some((each) => each.channelId === channelId && each.userId === userId)) {
    typists.value = [...typists.peek(), { channelId, userId, username }];
  }
}

/** Ends the notice of a user whose message has arrived. */
export function stopTypingOf(channelId: string, userId: string | undefined) {
  if (!userId) return;
  const key = `${channelId} ${userId}`;
  clearTimeout(recentAuthors.get(key));
  recentAuthors.set(
    key,
    setTimeout(() => recentAuthors.delete(key), IGNORE_AFTER_MESSAGE_MS),
  );
  if (expiries.has(key)) stop(channelId, userId);
}

function stop(channelId: string, userId: string) {
  const key = `${channelId} ${userId}`;
  clearTimeout(expiries.get(key));
  expiries.delete(key);
  typists.value = typists.peek().filter((each) => each.channelId !== channelId || each.userId !== userId);
}

export function clearTyping() {
  for (const { channelId, userId } of typists.peek()) stop(channelId, userId);
  sentChannel = "";
}
