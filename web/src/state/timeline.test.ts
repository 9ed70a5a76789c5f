import { beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import type { Message, MessagePage } from "../types";
import { MAX_MESSAGES, Timeline } from "./timeline";

vi.mock("../api", () => ({ PAGE_SIZE: 50, messages: vi.fn() }));

const readPage = vi.mocked(api.messages);

function message(seq: number, changes: Partial<Message> = {}): Message {
  const createdAt = new Date(Date.UTC(2026, 0, 1) + seq * 1000).toISOString();
  const content = `message ${seq}`;
  return { id: `m${seq}`, seq, content, createdAt, updatedAt: createdAt, channelId: "c", author: null, ...changes };
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => message(from + at));

const page = (from: number, to: number): MessagePage => ({
  content: range(from, to).reverse(),
  nextCursor: from > 1 ? String(from) : null,
  hasNext: from > 1,
});

const seqs = (timeline: Timeline) => timeline.messages.value.map(({ seq }) => seq);

async function loaded(from: number, to: number): Promise<Timeline> {
  const timeline = new Timeline("c");
  readPage.mockResolvedValueOnce(page(from, to));
  expect(await timeline.load()).toBe(true);
  return timeline;
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}

beforeEach(() => {
  readPage.mockReset();
});

test("the newest page is shown in the order of the channel", async () => {
  const timeline = await loaded(1, 3);
  expect(seqs(timeline)).toEqual([1, 2, 3]);
  expect(timeline.state.value).toBe("ready");
  expect(timeline.hasOlder.value).toBe(false);
});

test("a channel that cannot be read is shown as failed", async () => {
  const warn = vi.spyOn(console, "warn").mockReturnValue();
  const timeline = new Timeline("c");
  readPage.mockRejectedValueOnce(new Error("gone"));
  expect(await timeline.load()).toBe(false);
  expect(timeline.state.value).toBe("failed");
  expect(warn).toHaveBeenCalledOnce();
});

test("a message that arrives twice or out of order is shown once, in its place", async () => {
  const timeline = await loaded(1, 2);
  for (const seq of [4, 3, 4]) timeline.put(message(seq));
  expect(seqs(timeline)).toEqual([1, 2, 3, 4]);
  expect(timeline.lastSeq).toBe(4);
});

test("an older version of a message does not replace a newer one", async () => {
  const timeline = await loaded(1, 2);
  timeline.put(message(2, { content: "newer", updatedAt: "2026-02-02T00:00:00Z" }));
  timeline.put(message(2, { content: "older", updatedAt: "2026-02-01T00:00:00Z" }));
  expect(timeline.messages.value[1].content).toBe("newer");
});

test("an edit of a message that is not loaded is ignored", async () => {
  const timeline = await loaded(10, 12);
  timeline.update(message(3));
  timeline.put(message(3));
  expect(seqs(timeline)).toEqual([10, 11, 12]);
});

test("a message deleted while a page is read does not come back", async () => {
  const timeline = await loaded(1, 3);
  const { promise, resolve: answer } = deferred<MessagePage>();
  readPage.mockReturnValueOnce(promise);
  const reading = timeline.load();
  timeline.remove("m2");
  timeline.put(message(2));
  answer(page(1, 3));
  await reading;
  expect(seqs(timeline)).toEqual([1, 3]);
});

test("older pages are added before, without duplicates, up to the first message", async () => {
  const timeline = await loaded(4, 6);
  readPage.mockResolvedValueOnce(page(1, 4));
  await timeline.loadOlder();
  expect(readPage).toHaveBeenLastCalledWith("c", "4", "older");
  expect(seqs(timeline)).toEqual([1, 2, 3, 4, 5, 6]);
  await timeline.loadOlder();
  expect(readPage).toHaveBeenCalledTimes(2);
});

test("a newest page that adjoins the loaded ones keeps them, and one after a gap drops them", async () => {
  const timeline = await loaded(1, 5);
  readPage.mockResolvedValueOnce(page(6, 8));
  await timeline.load();
  expect(seqs(timeline)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  readPage.mockResolvedValueOnce(page(20, 21));
  await timeline.load();
  expect(seqs(timeline)).toEqual([20, 21]);
  expect(timeline.hasOlder.value).toBe(true);
});

test("an older page that no longer adjoins is dropped", async () => {
  const timeline = await loaded(4, 6);
  const { promise, resolve: answer } = deferred<MessagePage>();
  readPage.mockReturnValueOnce(promise);
  const reading = timeline.loadOlder();
  readPage.mockResolvedValueOnce(page(20, 21));
  await timeline.load();
  answer(page(1, 3));
  await reading;
  expect(seqs(timeline)).toEqual([20, 21]);
});

const LONG = MAX_MESSAGES;

test("a reader at the newest message loses the oldest of a long range, and can read them again", async () => {
  const timeline = await loaded(1, LONG);
  expect(timeline.messages.value).toHaveLength(LONG);
  timeline.put(message(LONG + 1));
  const kept = seqs(timeline);
  expect(kept.at(-1)).toBe(LONG + 1);
  expect(kept.length).toBeLessThan(LONG);
  expect(timeline.hasOlder.value).toBe(true);
  readPage.mockResolvedValueOnce(page(kept[0] - 50, kept[0] - 1));
  await timeline.loadOlder();
  expect(readPage).toHaveBeenLastCalledWith("c", String(kept[0]), "older");
  expect(seqs(timeline)[0]).toBe(kept[0] - 50);
});

test("a reader further up loses the newest of a long range, and reads them again on the way down", async () => {
  const timeline = await loaded(1000, 1000 + LONG - 1);
  timeline.following = false;
  readPage.mockResolvedValueOnce(page(950, 999));
  await timeline.loadOlder();
  const kept = seqs(timeline);
  expect(kept[0]).toBe(950);
  expect(kept.length).toBeLessThan(LONG);
  expect(timeline.hasNewer.value).toBe(true);

  // An arrival is counted, but does not belong to the range.
  timeline.put(message(1000 + LONG));
  expect(seqs(timeline)).toEqual(kept);
  expect(timeline.lastSeq).toBe(1000 + LONG);

  const last = kept.at(-1) as number;
  const rest = range(last + 1, 1000 + LONG);
  readPage.mockResolvedValueOnce({ content: rest, nextCursor: null, hasNext: false });
  await timeline.loadNewer();
  expect(readPage).toHaveBeenLastCalledWith("c", String(last), "newer");
  expect(seqs(timeline).at(-1)).toBe(1000 + LONG);
  expect(timeline.hasNewer.value).toBe(false);
  timeline.put(message(1001 + LONG));
  expect(seqs(timeline).at(-1)).toBe(1001 + LONG);
});

test("a message that arrives during the read of the last newer page is read, too", async () => {
  const timeline = await loaded(1, 3);
  timeline.hasNewer.value = true;
  const { promise, resolve: answer } = deferred<MessagePage>();
  readPage.mockReturnValueOnce(promise);
  const reading = timeline.loadNewer();
  timeline.put(message(5));
  answer({ content: [message(4)], nextCursor: null, hasNext: false });
  await reading;
  expect(seqs(timeline)).toEqual([1, 2, 3, 4]);
  expect(timeline.hasNewer.value).toBe(true);
});

test("the range around a reader who is further up stays when the line was lost for long", async () => {
  const timeline = await loaded(1, 5);
  timeline.following = false;
  readPage.mockResolvedValueOnce(page(20, 21));
  await timeline.load();
  expect(seqs(timeline)).toEqual([1, 2, 3, 4, 5]);
  expect([timeline.hasNewer.value, timeline.lastSeq]).toEqual([true, 21]);
  readPage.mockResolvedValueOnce(page(20, 21));
  await timeline.load(true);
  expect(seqs(timeline)).toEqual([20, 21]);
  expect([timeline.hasNewer.value, timeline.hasOlder.value]).toEqual([false, true]);
});

test("arrivals do not grow the range around a reader who is further up without bound", async () => {
  const timeline = await loaded(1, LONG);
  timeline.following = false;
  for (let seq = LONG + 1; seq < LONG + 100; seq++) timeline.put(message(seq));
  expect(timeline.messages.value).toHaveLength(LONG);
  expect([timeline.hasNewer.value, timeline.lastSeq]).toEqual([true, LONG + 99]);
});
