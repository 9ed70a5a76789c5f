import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { publish } from "../live/link";
import { me } from "../session";
import { clearTyping, receiveTyping, sendTyping, stopTypingOf, typists } from "./typing";

vi.mock("../live/link", () => ({ publish: vi.fn(() => true) }));

const ben = { channelId: "c", userId: "ben", username: "ben" };

beforeEach(() => {
  vi.useFakeTimers();
  vi.mocked(publish).mockClear();
  me.value = { id: "ann", username: "ann", email: "", online: true, role: "USER" };
});

afterEach(() => {
  clearTyping();
  vi.runAllTimers();
  vi.useRealTimers();
});

test("a notice lasts 4 s from the newest", () => {
  receiveTyping(ben);
  vi.advanceTimersByTime(3_000);
  receiveTyping(ben);
  vi.advanceTimersByTime(3_999);
  expect(typists.value).toEqual([ben]);
  vi.advanceTimersByTime(1);
  expect(typists.value).toEqual([]);
});

test("the user's own notices from another tab are not shown", () => {
  receiveTyping({ ...ben, userId: "ann" });
  expect(typists.value).toEqual([]);
});

test("a message ends its author's notice, and one that was sent before it does not start another", () => {
  receiveTyping(ben);
  stopTypingOf("c", "ben");
  receiveTyping(ben);
  expect(typists.value).toEqual([]);
  vi.advanceTimersByTime(700);
  receiveTyping(ben);
  expect(typists.value).toEqual([ben]);
});

test("notices are sent every 2.2 s at most, and at once in another channel", () => {
  for (const channelId of ["c", "c", "d"]) sendTyping(channelId);
  expect(publish).toHaveBeenCalledTimes(2);
  vi.advanceTimersByTime(2_200);
  sendTyping("d");
  expect(publish).toHaveBeenCalledTimes(3);
});
