import { afterEach, beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import { me } from "../session";
import type { Channel, Message, ReadStatus } from "../types";
import { visible } from "../visible";
import { channels } from "./channels";
import { current } from "./conversations";
import { clearReadStatuses, putReadStatus, readStatusOf, refreshReadStatuses } from "./read-statuses";
import { finishReading, startReading } from "./reading";
import { Timeline } from "./timeline";

vi.mock("../live/link", async () => {
  const { signal } = await import("@preact/signals");
  return { connection: signal("off"), subscribe: vi.fn(() => () => {}) };
});
vi.mock("../api", () => ({
  messages: vi.fn(),
  readStatuses: vi.fn(),
  updateReadStatus: vi.fn(async (_: string, { newLastReadSeq }) => status(newLastReadSeq)),
}));

const message = (seq: number): Message => ({
  id: `m${seq}`,
  seq,
  content: "",
  createdAt: "2026-01-01T00:00:00Z",
  updatedAt: null,
  channelId: "c",
  author: null,
});

const status = (lastReadSeq: number): ReadStatus => ({
  id: "s",
  userId: "ann",
  channelId: "c",
  lastReadAt: "2026-01-01T00:00:00Z",
  lastReadSeq,
  notificationLevel: "ALL",
  mentions: 0,
});

const read = () => readStatusOf("c")?.lastReadSeq;
let stop = () => {};
let timeline: Timeline;

/** Opens a channel of five messages. */
async function open(lastReadSeq: number) {
  vi.mocked(api.readStatuses).mockResolvedValue({ items: [status(lastReadSeq)], cursor: null });
  await refreshReadStatuses();
  timeline = new Timeline("c");
  vi.mocked(api.messages).mockResolvedValue({
    content: [5, 4, 3, 2, 1].map(message),
    nextCursor: null,
    hasNext: false,
  });
  current.value = timeline;
  await timeline.load();
}

beforeEach(() => {
  me.value = { id: "ann", username: "ann", email: "", online: true, role: "USER" };
  visible.value = true;
  stop = startReading();
});

afterEach(() => {
  stop();
  current.value = null;
  channels.value = null;
  clearReadStatuses();
});

test("opening a channel at its end reads it, and the divider shows where the new messages begin", async () => {
  await open(3);
  expect([read(), timeline.divider.value]).toEqual([5, 3]);
  // Messages that arrive meanwhile are read where they are.
  timeline.put(message(6));
  expect([read(), timeline.divider.value]).toEqual([6, 3]);
});

test("a channel whose newest message is deleted is read to its end", async () => {
  channels.value = [{ id: "c", lastSeq: 7, lastMessageAt: "2026-01-01T00:00:00Z" } as Channel];
  await open(5);
  expect(read()).toBe(7);
});

test("the divider is gone when the reader has left the channel", async () => {
  await open(3);
  current.value = null;
  expect(timeline.divider.value).toBe(null);
});

test("a channel without news has no divider", async () => {
  await open(5);
  timeline.put(message(6));
  expect([read(), timeline.divider.value]).toEqual([6, null]);
});

test("messages below the reader stay unread until the reader comes to the end", async () => {
  await open(5);
  timeline.following.value = false;
  timeline.put(message(6));
  timeline.put(message(7));
  expect([read(), timeline.divider.value]).toEqual([5, 5]);
  timeline.following.value = true;
  expect([read(), timeline.divider.value]).toEqual([7, 5]);
});

test("messages in a hidden tab stay unread until it is shown", async () => {
  await open(3);
  visible.value = false;
  timeline.put(message(6));
  expect([read(), timeline.divider.value]).toEqual([5, 5]);
  visible.value = true;
  expect([read(), timeline.divider.value]).toEqual([6, 5]);
});

test("the divider follows what the user reads on another device, unless the reader is at the end here", async () => {
  await open(3);
  putReadStatus(status(6));
  expect([read(), timeline.divider.value]).toEqual([6, 3]);
  timeline.following.value = false;
  for (const seq of [6, 7, 8, 9]) timeline.put(message(seq));
  expect([read(), timeline.divider.value]).toEqual([6, 3]);
  putReadStatus(status(8));
  expect([read(), timeline.divider.value]).toEqual([8, 8]);
  putReadStatus(status(7));
  expect([read(), timeline.divider.value]).toEqual([8, 8]);
  putReadStatus(status(9));
  expect([read(), timeline.divider.value]).toEqual([9, null]);
});

test("finishing reads everything and removes the divider", async () => {
  await open(3);
  timeline.following.value = false;
  timeline.put(message(6));
  finishReading(timeline);
  expect([read(), timeline.divider.value]).toEqual([6, null]);
});
