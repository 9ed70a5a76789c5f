import { beforeEach, expect, test, vi } from "vitest";
import { keepChannels, keepMessages } from "./kept";

const MAX_CHANNELS_KEPT = 20;
const USER = "user";
const NOTHING = { messages: [], hasOlder: false };
const channels = Array.from({ length: MAX_CHANNELS_KEPT + 5 }, (_, number) => `channel-${number}`);

/** What is kept, in the order of a cache: that in which the keys were added. */
const kept = new Map<string, Response>();
const address = (path: string | { url: string }) =>
  new URL(typeof path === "string" ? path : path.url, "https://chat.example").href;
const cache = {
  put: async (path: string, response: Response) => void kept.set(address(path), response),
  delete: async (path: string | { url: string }) => kept.delete(address(path)),
  keys: async () => [...kept.keys()].map((url) => ({ url })),
};
const keptChannels = () => [...kept.keys()].flatMap((url) => url.split("/kept/messages/").slice(1));

beforeEach(() => {
  kept.clear();
  vi.stubGlobal("caches", { open: async () => cache, keys: async () => [`kept ${USER}`] });
});

test("of more channels, those kept longest ago go", async () => {
  await keepChannels(USER, []);
  for (const id of channels) await keepMessages(USER, id, NOTHING);
  expect(keptChannels()).toEqual(channels.slice(-MAX_CHANNELS_KEPT));
  expect(kept.has(address("/kept/channels"))).toBe(true);
});

test("a channel that is kept again goes last, and pushes none out", async () => {
  const [first = "", ...others] = channels.slice(0, MAX_CHANNELS_KEPT);
  for (const id of [first, ...others, first]) await keepMessages(USER, id, NOTHING);
  expect(keptChannels()).toEqual([...others, first]);
});
