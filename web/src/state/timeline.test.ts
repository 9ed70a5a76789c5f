import { beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import type { Message, MessagePage } from "../types";
import { MAX_MESSAGES, Timeline } from "./timeline";

vi.mock("../api", () => ({ PAGE_SIZE: 50, messages: vi.fn(), messagesAround: vi.fn() }));

const readPage = vi.mocked(api.messages);
const readAround = vi.mocked(api.messagesAround);

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
  readAround.mockReset();
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
  timeline.following.value = false;
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
  timeline.following.value = false;
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
  timeline.following.value = false;
  for (let seq = LONG + 1; seq < LONG + 100; seq++) timeline.put(message(seq));
  expect(timeline.messages.value).toHaveLength(LONG);
  expect([timeline.hasNewer.value, timeline.lastSeq]).toEqual([true, LONG + 99]);
});

// ---- jumps -----------------------------------------------------------------------------------------------------------

const around = (from: number, to: number, of: number): MessagePage => ({
  ...page(from, to),
  previousCursor: to < of ? String(to) : null,
});

test("a jump to a loaded message reads nothing, and is made once", async () => {
  const timeline = await loaded(1, 10);
  for (const jumps of [1, 2]) {
    expect(await timeline.jumpTo({ seq: 4 })).toBe(true);
    expect([timeline.jumps.value, timeline.takeTarget()]).toEqual([jumps, { seq: 4, key: "m4" }]);
    expect(timeline.takeTarget()).toBeNull();
  }
  expect(readAround).not.toHaveBeenCalled();
});

test("a jump to a message that is not loaded shows the page around it, which goes on both ways", async () => {
  const timeline = await loaded(951, 1000);
  readAround.mockResolvedValueOnce(around(75, 124, 1000));
  expect(await timeline.jumpTo({ seq: 100 })).toBe(true);
  expect(readAround).toHaveBeenCalledWith("c", { around: "100" });
  expect(seqs(timeline)).toEqual(range(75, 124).map(({ seq }) => seq));
  expect([timeline.hasOlder.value, timeline.hasNewer.value, timeline.lastSeq]).toEqual([true, true, 1000]);
  // New messages are counted, and leave the range.
  timeline.put(message(1001));
  expect([seqs(timeline).at(-1), timeline.lastSeq]).toEqual([124, 1001]);
  readPage.mockResolvedValueOnce({ content: range(125, 130), nextCursor: "130", hasNext: true });
  await timeline.loadNewer();
  expect(seqs(timeline).at(-1)).toBe(130);
  readPage.mockResolvedValueOnce(page(952, 1001));
  await timeline.load(true);
  expect([seqs(timeline).at(-1), timeline.hasNewer.value]).toEqual([1001, false]);
});

test("a jump to a deleted message goes to the next one, and says so", async () => {
  const timeline = await loaded(951, 1000);
  const content = around(75, 124, 1000).content.filter(({ seq }) => seq !== 100);
  readAround.mockResolvedValueOnce({ ...around(75, 124, 1000), content });
  expect(await timeline.jumpTo({ seq: 100 })).toBe(false);
  expect(timeline.takeTarget()?.seq).toBe(101);
});

test("a jump to an instant goes to the first message from then on", async () => {
  const timeline = await loaded(951, 1000);
  readAround.mockResolvedValueOnce(around(75, 124, 1000));
  const at = message(90).createdAt;
  expect(await timeline.jumpTo({ at })).toBe(true);
  expect(timeline.takeTarget()?.seq).toBe(90);
  readAround.mockResolvedValueOnce(around(951, 1000, 1000));
  await timeline.jumpTo({ at: "2030-01-01T00:00:00Z" });
  expect([timeline.takeTarget()?.seq, timeline.hasNewer.value]).toEqual([1000, false]);
});

// ---- replies and reactions -------------------------------------------------------------------------------------------

test("a reply follows the edits and the deletion of its original", async () => {
  const timeline = await loaded(1, 3);
  const replyTo = { id: "m1", seq: 1, author: null, excerpt: "message 1", deleted: false };
  timeline.put(message(4, { replyTo }));
  timeline.update(message(1, { content: "  changed", updatedAt: "2026-02-01T00:00:00Z" }));
  expect(timeline.messages.value[3].replyTo?.excerpt).toBe("changed");
  timeline.update(message(1, { content: "가".repeat(201), updatedAt: "2026-02-02T00:00:00Z" }));
  expect(timeline.messages.value[3].replyTo?.excerpt).toBe(`${"가".repeat(200)}…`);
  timeline.remove("m1");
  expect(timeline.messages.value[2].replyTo).toEqual({ ...replyTo, excerpt: null, deleted: true });
});

test("a reaction counts once, whether the user or the server is first", async () => {
  const timeline = await loaded(1, 2);
  const reactions = () => timeline.messages.value[1].reactions;
  for (const user of ["ann", "ann", "ben"]) timeline.react("m2", "👍", user, true);
  expect(reactions()).toEqual([{ emoji: "👍", count: 2, userIds: ["ann", "ben"] }]);
  for (const user of ["ann", "ann"]) timeline.react("m2", "👍", user, false);
  expect(reactions()).toEqual([{ emoji: "👍", count: 1, userIds: ["ben"] }]);
  timeline.react("m2", "👍", "ben", false);
  expect(reactions()).toEqual([]);
});

test("of many reactions, a removal by a user who is not listed counts", async () => {
  const userIds = Array.from({ length: 50 }, (_, at) => `u${at}`);
  const timeline = await loaded(1, 1);
  timeline.put(message(1, { reactions: [{ emoji: "👍", count: 60, userIds }] }));
  timeline.react("m1", "👍", "u59", false);
  expect(timeline.messages.value[0].reactions?.[0].count).toBe(59);
});
