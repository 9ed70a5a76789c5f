// What this browser keeps of the last visit, to be read without a network: the user, the channels, and the newest messages of the
// channels opened last. Each user has a cache. Where storage is blocked, or the page has no secure origin, nothing is kept.

import type { Channel, Message, User } from "./types";

const PREFIX = "kept ";
const MAX_CHANNELS_LISTED = 1_000;
const MAX_CHANNELS_READ = 20;
const MAX_MESSAGES = 50;

const USER = "/kept/user";
const CHANNELS = "/kept/channels";
const messagesOf = (channelId: string) => `/kept/messages/${channelId}`;

/** The newest messages of a channel, oldest first. */
export interface KeptMessages {
  messages: Message[];
  /** Whether there are older ones. */
  hasOlder: boolean;
}

/** One after the other: what is forgotten does not come back. */
let queue: Promise<unknown> = Promise.resolve();

function inTurn<T>(work: () => Promise<T>): Promise<T | null> {
  const result = queue.then(work).catch((error) => {
    console.debug("nothing is kept:", error);
    return null;
  });
  queue = result;
  return result;
}

const nameOf = (userId: string) => PREFIX + userId;

async function userCaches() {
  return (await caches.keys()).filter((name) => name.startsWith(PREFIX));
}

const open = (userId: string) => caches.open(nameOf(userId));

async function write(userId: string, path: string, value: unknown) {
  const cache = await open(userId);
  await cache.put(path, new Response(JSON.stringify(value)));
}

async function read(userId: string, path: string): Promise<any> {
  const response = await (await open(userId)).match(path);
  return response ? response.json() : null;
}

/** Keeps who is signed in, and forgets other users. */
export const keepUser = (user: User) =>
  inTurn(async () => {
    for (const name of await userCaches()) if (name !== nameOf(user.id)) await caches.delete(name);
    await write(user.id, USER, user);
  });

/** Keeps the channels, and forgets the messages of those that the user may no longer read. */
export const keepChannels = (userId: string, channels: Channel[]) =>
  inTurn(async () => {
    const cache = await open(userId);
    const readable = new Set([USER, ...channels.map(({ id }) => messagesOf(id))]);
    for (const { url } of await cache.keys()) if (!readable.has(new URL(url).pathname)) await cache.delete(url);
    if (channels.length <= MAX_CHANNELS_LISTED) await write(userId, CHANNELS, channels);
  });

/** Keeps the newest messages of a channel, and forgets the channels kept longest ago. */
export const keepMessages = (userId: string, channelId: string, { messages, hasOlder }: KeptMessages) =>
  inTurn(async () => {
    const cache = await open(userId);
    const path = messagesOf(channelId);
    // The keys of a cache are in the order in which they were added.
    await cache.delete(path);
    const kept = (await cache.keys()).filter(({ url }) => new URL(url).pathname.startsWith(messagesOf("")));
    for (const request of kept.slice(0, Math.max(0, kept.length - MAX_CHANNELS_READ + 1))) await cache.delete(request);
    await write(userId, path, {
      messages: messages.slice(-MAX_MESSAGES),
      hasOlder: hasOlder || messages.length > MAX_MESSAGES,
    });
  });

export const keptUser = (): Promise<User | null> =>
  inTurn(async () => {
    const [name] = await userCaches();
    return name ? read(name.slice(PREFIX.length), USER) : null;
  });

export const keptChannels = (userId: string): Promise<Channel[] | null> => inTurn(() => read(userId, CHANNELS));

export const keptMessages = (userId: string, channelId: string): Promise<KeptMessages | null> =>
  inTurn(() => read(userId, messagesOf(channelId)));

/** Forgets everything, when a session ends. */
export const forgetKept = () =>
  inTurn(async () => {
    for (const name of await userCaches()) await caches.delete(name);
  });
