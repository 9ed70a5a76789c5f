// Keeps what this tab shows, to be read without a network, see kept.ts.
import { effect } from "@preact/signals";
import { keepChannels, keepMessages, keepUser, keptChannels } from "../kept";
import { me, offline } from "../session";
import { channels } from "./channels";
import { current } from "./conversations";

/** The changes of this time are written together. */
const COLLECT_MS = 1_000;

/** @returns stops */
export function startKeeping(userId: string): () => void {
  const timers: Map<string, ReturnType<typeof setTimeout>> = new Map();
  const soon = (key: string, write: () => void) => {
    if (timers.has(key)) return;
    const run = () => {
      timers.delete(key);
      write();
    };
    timers.set(key, setTimeout(run, COLLECT_MS));
  };
  if (offline.peek()) void showKeptChannels(userId);
  const ends = [
    effect(() => {
      if (me.value && !offline.value) void keepUser(me.value);
    }),
    effect(() => {
      if (channels.value && !offline.value) soon("", () => void keepChannels(userId, channels.peek() ?? []));
    }),
    effect(() => {
      const timeline = current.value;
      if (!timeline?.messages.value.length || timeline.kept) return;
      soon(timeline.channelId, () => {
        // The reader is further up.
        if (timeline.hasNewer.peek()) return;
        const range = { messages: timeline.messages.peek(), hasOlder: timeline.hasOlder.peek() };
        void keepMessages(userId, timeline.channelId, range);
      });
    }),
  ];
  return () => {
    for (const end of ends) end();
    for (const timer of timers.values()) clearTimeout(timer);
  };
}

/** Until the server can be asked. */
async function showKeptChannels(userId: string) {
  const kept = await keptChannels(userId);
  if (me.peek()?.id === userId) channels.value ??= kept;
}
