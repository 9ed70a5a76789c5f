// Who is writing right now. Nothing of it is stored: it is said while it lasts, and forgotten soon after it was last said.
import { publish } from "../live/stomp.js";
import { me } from "../session.js";
import { signal } from "../ui.js";

/** The server passes on one in two seconds; a little more, or every second one would come too early. */
const SAY_EVERY_MS = 2_200;
/** Longer than the pause between two, so that one that is late makes no gap. */
const LASTS_MS = 4_000;
/** Messages and this take different ways: what was said before a message may come just after it. */
const LATE_MS = 700;

/** @typedef {{channelId: string, userId: string, username: string}} Typist */

/** Everywhere, in the order they began. */
export const typists = signal(/** @type {Typist[]} */ ([]));

/** By channel and user: when they are forgotten. @type {Map<string, ReturnType<typeof setTimeout>>} */
const ends = new Map();
/** By channel and user: wrote a message just now. @type {Map<string, ReturnType<typeof setTimeout>>} */
const wrote = new Map();
let saidIn = "";
let saidAt = -Infinity;

/** The user is writing; tells the others, if that was not done just now. @param {string} channelId */
export function sayTyping(channelId) {
  if (saidIn === channelId && performance.now() - saidAt < SAY_EVERY_MS) return;
  if (!publish("/pub/typing", { channelId })) return;
  saidIn = channelId;
  saidAt = performance.now();
}

/** @param {Typist} typist also the user in another tab, which nobody needs to be told */
export function heardTyping({ channelId, userId, username }) {
  const key = `${channelId} ${userId}`;
  if (userId === me.peek()?.id || wrote.has(key)) return;
  clearTimeout(ends.get(key));
  ends.set(key, setTimeout(() => stop(channelId, userId), LASTS_MS));
  if (!typists.peek().some((each) => each.channelId === channelId && each.userId === userId)) {
    typists.value = [...typists.peek(), { channelId, userId, username }];
  }
}

/** What they were writing is there. @param {string} channelId @param {string | undefined} userId */
export function wroteMessage(channelId, userId) {
  if (!userId) return;
  const key = `${channelId} ${userId}`;
  clearTimeout(wrote.get(key));
  wrote.set(key, setTimeout(() => wrote.delete(key), LATE_MS));
  if (ends.has(key)) stop(channelId, userId);
}

/** @param {string} channelId @param {string} userId */
function stop(channelId, userId) {
  const key = `${channelId} ${userId}`;
  clearTimeout(ends.get(key));
  ends.delete(key);
  typists.value = typists.peek().filter((each) => each.channelId !== channelId || each.userId !== userId);
}

export function forgetTyping() {
  for (const { channelId, userId } of typists.peek()) stop(channelId, userId);
  saidIn = "";
}
