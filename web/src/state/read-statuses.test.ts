import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import { ApiError } from "../http";
import { me } from "../session";
import type { Channel, ReadStatus, User } from "../types";
import { touchChannel } from "./activity";
import {
  clearReadStatuses,
  countDeleted,
  createReadStatuses,
  levelOf,
  markRead,
  putReadStatus,
  readStatusOf,
  refreshReadStatuses,
  setLevel,
  unreadOf,
} from "./read-statuses";

vi.mock("../live/link", () => ({ subscribe: vi.fn() }));
vi.mock("../api", () => ({ readStatuses: vi.fn(), createReadStatus: vi.fn(), updateReadStatus: vi.fn() }));

const ann: User = { id: "ann", username: "ann", email: "", online: true, role: "USER" };
const update = vi.mocked(api.updateReadStatus);
const create = vi.mocked(api.createReadStatus);

/** Each test has a channel of its own: the activity of one stays. */
let number = 0;
let channel: Channel;

function status(changes: Partial<ReadStatus> = {}): ReadStatus {
  return {
    id: `status of ${channel.id}`,
    userId: ann.id,
    channelId: channel.id,
    lastReadAt: "2026-01-01T00:00:00Z",
    lastReadSeq: 2,
    notificationLevel: "MENTIONS",
    mentions: 1,
    ...changes,
  };
}

const listed = (...items: ReadStatus[]) => vi.mocked(api.readStatuses).mockResolvedValueOnce({ items, cursor: null });

async function load(...items: ReadStatus[]) {
  listed(...items);
  const done = refreshReadStatuses();
  await vi.advanceTimersByTimeAsync(1_000);
  await done;
}

// Once: the spacing of the reads is counted from the last test.
beforeAll(() => void vi.useFakeTimers());

beforeEach(() => {
  vi.setSystemTime("2026-06-01T00:00:00Z");
  vi.clearAllMocks();
  me.value = ann;
  channel = {
    id: `c${++number}`,
    name: "talk",
    description: null,
    type: "PUBLIC",
    participants: [],
    lastMessageAt: "2026-01-01T00:00:00Z",
    lastSeq: 5,
    withHistory: false,
  };
});

afterEach(async () => {
  await vi.advanceTimersByTimeAsync(5_000);
  clearReadStatuses();
});

afterAll(() => void vi.useRealTimers());

test("unread are the messages after the position that was read, with those that arrive", async () => {
  expect(unreadOf(channel)).toEqual({ messages: 0, mentions: 0 });
  await load(status());
  expect(unreadOf(channel)).toEqual({ messages: 3, mentions: 1 });
  touchChannel(channel.id, 7, "2026-01-02T00:00:00Z");
  // A late event.
  touchChannel(channel.id, 6, "2026-01-02T00:00:00Z");
  expect(unreadOf(channel)).toEqual({ messages: 5, mentions: 1 });
});

test("deleted messages are not unread", async () => {
  await load(status({ unreadDeleted: 1 }));
  expect(unreadOf(channel)).toEqual({ messages: 2, mentions: 1 });
  touchChannel(channel.id, 6, "2026-01-02T00:00:00Z");
  countDeleted(channel.id, 6);
  countDeleted(channel.id, 2);
  expect(unreadOf(channel)).toEqual({ messages: 2, mentions: 1 });
  update.mockResolvedValueOnce(status({ lastReadSeq: 6, mentions: 0, unreadDeleted: 0 }));
  markRead(channel.id, 6);
  touchChannel(channel.id, 7, "2026-01-02T00:00:00Z");
  expect(unreadOf(channel)).toEqual({ messages: 1, mentions: 0 });
});

test("nothing is unread in a muted channel", async () => {
  await load(status({ notificationLevel: "NONE" }));
  expect(unreadOf(channel)).toEqual({ messages: 0, mentions: 0 });
});

test("reading counts at once, and is sent to the server once a second at most", async () => {
  await load(status());
  update.mockImplementation(async (_, { newLastReadSeq = 0 }) => status({ lastReadSeq: newLastReadSeq, mentions: 0 }));
  for (const seq of [3, 4, 5]) markRead(channel.id, seq);
  expect(unreadOf(channel)).toEqual({ messages: 0, mentions: 0 });
  await vi.advanceTimersByTimeAsync(0);
  expect(update.mock.calls.map(([, changes]) => changes)).toEqual([{ newLastReadSeq: 5 }]);
  for (const seq of [6, 7, 8]) markRead(channel.id, seq);
  await vi.advanceTimersByTimeAsync(500);
  expect(update).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(600);
  expect(update.mock.calls.map(([, changes]) => changes)).toEqual([{ newLastReadSeq: 5 }, { newLastReadSeq: 8 }]);
});

test("a list from before the reading does not bring the count back, and one from another device lowers it", async () => {
  await load(status());
  update.mockReturnValue(new Promise(() => {}));
  markRead(channel.id, 4);
  await load(status());
  expect(unreadOf(channel)).toEqual({ messages: 1, mentions: 0 });
  await load(status({ lastReadSeq: 5, mentions: 0 }));
  expect(unreadOf(channel)).toEqual({ messages: 0, mentions: 0 });
});

test("what the user reads on another device counts here at once, and an older position takes nothing back", async () => {
  await load(status());
  putReadStatus(status({ lastReadSeq: 4, mentions: 0, notificationLevel: "ALL" }));
  expect(unreadOf(channel)).toEqual({ messages: 1, mentions: 0 });
  // The level has changed since, perhaps.
  expect(levelOf(channel)).toBe("MENTIONS");
  putReadStatus(status({ lastReadSeq: 3, mentions: 1 }));
  putReadStatus(status({ lastReadSeq: 4, mentions: 1 }));
  putReadStatus(status({ lastReadSeq: 5, userId: "ben" }));
  expect(unreadOf(channel)).toEqual({ messages: 1, mentions: 0 });
  expect(update).not.toHaveBeenCalled();
});

test("the event of this device's own reading changes nothing, and so does one that comes before its answer", async () => {
  await load(status());
  let answer: (status: ReadStatus) => void = () => {};
  update.mockReturnValueOnce(new Promise((done) => (answer = done)));
  markRead(channel.id, 4);
  await vi.advanceTimersByTimeAsync(0);
  markRead(channel.id, 5);
  putReadStatus(status({ lastReadSeq: 4 }));
  expect(unreadOf(channel)).toEqual({ messages: 0, mentions: 0 });
  update.mockResolvedValueOnce(status({ lastReadSeq: 5, mentions: 0 }));
  answer(status({ lastReadSeq: 4 }));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(update.mock.calls.map(([, changes]) => changes)).toEqual([{ newLastReadSeq: 4 }, { newLastReadSeq: 5 }]);
  expect(unreadOf(channel)).toEqual({ messages: 0, mentions: 0 });
});

test("an event before the list makes the list be read again; one about a new read status adds it", async () => {
  let answer: (list: { items: ReadStatus[]; cursor: null }) => void = () => {};
  vi.mocked(api.readStatuses).mockReturnValueOnce(new Promise((done) => (answer = done)));
  const first = refreshReadStatuses();
  await vi.advanceTimersByTimeAsync(1_000);
  putReadStatus(status({ lastReadSeq: 5 }));
  listed();
  answer({ items: [], cursor: null });
  await first;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(api.readStatuses).toHaveBeenCalledTimes(2);
  putReadStatus(status({ lastReadSeq: 5, notificationLevel: "ALL" }));
  expect(readStatusOf(channel.id)).toMatchObject({ lastReadSeq: 5, notificationLevel: "ALL" });
});

test("what another tab of the same user has read counts here", async () => {
  await load(status());
  const other = new BroadcastChannel("discodeit.read");
  const arrived = new Promise((done) => new BroadcastChannel("discodeit.read").addEventListener("message", done));
  other.postMessage({ userId: "ben", channelId: channel.id, seq: 5 });
  other.postMessage({ userId: ann.id, channelId: channel.id, seq: 4 });
  await arrived;
  await vi.waitFor(() => expect(readStatusOf(channel.id)?.lastReadSeq).toBe(4));
  expect(update).not.toHaveBeenCalled();
});

test("a level is shown at once, and goes back when the server refuses it", async () => {
  await load(status());
  let refuse: (error: Error) => void = () => {};
  update.mockReturnValueOnce(new Promise((_, reject) => (refuse = reject)));
  const change = setLevel(channel, "ALL");
  await vi.advanceTimersByTimeAsync(0);
  expect(levelOf(channel)).toBe("ALL");
  refuse(new ApiError({ status: 404, message: "gone" }));
  await expect(change).rejects.toThrow("gone");
  expect(levelOf(channel)).toBe("MENTIONS");
});

test("answers from before a choice of a level do not take it back", async () => {
  await load(status());
  let answerList: (list: { items: ReadStatus[]; cursor: null }) => void = () => {};
  let answerPosition: (status: ReadStatus) => void = () => {};
  let answerLevel: (status: ReadStatus) => void = () => {};
  vi.mocked(api.readStatuses).mockReturnValueOnce(new Promise((done) => (answerList = done)));
  update.mockReturnValueOnce(new Promise((done) => (answerPosition = done)));
  update.mockReturnValueOnce(new Promise((done) => (answerLevel = done)));
  markRead(channel.id, 4);
  const list = refreshReadStatuses();
  await vi.advanceTimersByTimeAsync(1_000);
  const change = setLevel(channel, "ALL");
  await vi.advanceTimersByTimeAsync(0);
  answerPosition(status({ lastReadSeq: 4 }));
  await vi.advanceTimersByTimeAsync(0);
  expect(levelOf(channel)).toBe("ALL");
  answerLevel(status({ lastReadSeq: 4, notificationLevel: "ALL" }));
  await change;
  answerList({ items: [status()], cursor: null });
  await list;
  expect(readStatusOf(channel.id)).toMatchObject({ lastReadSeq: 4, notificationLevel: "ALL" });
  // Another device has chosen since.
  await load(status({ lastReadSeq: 4, notificationLevel: "NONE" }));
  expect(levelOf(channel)).toBe("NONE");
});

test("of two levels chosen in a row, the second is sent last and stays", async () => {
  await load(status());
  const answers: (() => void)[] = [];
  update.mockImplementation(
    (_, { newNotificationLevel }) =>
      new Promise((done) => answers.push(() => done(status({ notificationLevel: newNotificationLevel })))),
  );
  const changes = [setLevel(channel, "ALL"), setLevel(channel, "NONE")];
  await vi.advanceTimersByTimeAsync(0);
  expect(update).toHaveBeenCalledOnce();
  answers[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(levelOf(channel)).toBe("NONE");
  answers[1]?.();
  await Promise.all(changes);
  expect(update.mock.calls.map(([, { newNotificationLevel }]) => newNotificationLevel)).toEqual(["ALL", "NONE"]);
  expect(levelOf(channel)).toBe("NONE");
});

test("a new user has read everything; a later channel is unread since the user last read something", async () => {
  // The newest message is deleted.
  create.mockImplementation(async (given) => status({ ...given, lastReadSeq: 4 }));
  update.mockImplementation(async (_, { newLastReadSeq = 0 }) => status({ lastReadSeq: newLastReadSeq }));
  await load();
  await createReadStatuses(() => [channel]);
  expect(unreadOf(channel).messages).toBe(0);
  expect(create.mock.lastCall?.[0]).toMatchObject({
    lastReadAt: "2026-06-01T00:00:01.000Z",
    notificationLevel: "MENTIONS",
  });
  vi.setSystemTime("2026-07-01T00:00:00Z");
  await createReadStatuses(() => [channel, { ...channel, id: "later" }]);
  expect(create).toHaveBeenCalledTimes(2);
  expect(create.mock.lastCall?.[0]).toMatchObject({ channelId: "later", lastReadAt: "2026-06-01T00:00:01.000Z" });
});

test("a channel that is gone is left out", async () => {
  const warn = vi.spyOn(console, "warn").mockReturnValue();
  create.mockRejectedValueOnce(new ApiError({ status: 404, message: "gone" }));
  create.mockImplementation(async (given) => status(given));
  await load();
  await createReadStatuses(() => [{ ...channel, id: "gone" }, channel]);
  expect(warn).toHaveBeenCalledOnce();
  expect(readStatusOf(channel.id)).toBeDefined();
});
