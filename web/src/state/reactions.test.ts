import { beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import { ApiError } from "../http";
import { me } from "../session";
import type { Message } from "../types";
import { timelineOf } from "./conversations";
import { toggleReaction } from "./reactions";
import { Timeline } from "./timeline";
import { toasts } from "./toasts";

vi.mock("../api", () => ({ addReaction: vi.fn(async () => {}), removeReaction: vi.fn(async () => {}) }));
vi.mock("./conversations", () => ({ timelineOf: vi.fn() }));

const message: Message = {
  id: "m",
  seq: 1,
  content: "",
  createdAt: "2026-01-01T00:00:00Z",
  updatedAt: null,
  channelId: "c",
  author: null,
  reactions: [{ emoji: "👍", count: 1, userIds: ["ben"] }],
};

let timeline: Timeline;
const shown = () => timeline.messages.value[0].reactions?.map(({ emoji, userIds }) => [emoji, ...userIds]);
const toggle = (emoji: string) => toggleReaction(timeline.messages.value[0], emoji);
const settled = () => new Promise((done) => setTimeout(done));

beforeEach(() => {
  vi.clearAllMocks();
  me.value = { id: "ann", username: "ann", email: "", online: true, role: "USER" };
  timeline = new Timeline("c");
  timeline.put(message);
  vi.mocked(timelineOf).mockReturnValue(timeline);
});

test("a reaction is shown at once, and removed by the second press", async () => {
  toggle("👍");
  expect(shown()).toEqual([["👍", "ben", "ann"]]);
  toggle("👍");
  expect(shown()).toEqual([["👍", "ben"]]);
  await settled();
  const order = [api.addReaction, api.removeReaction].map((each) => vi.mocked(each).mock.invocationCallOrder[0]);
  expect(order[0]).toBeLessThan(order[1]);
});

test("a refused reaction is taken back and said", async () => {
  vi.mocked(api.addReaction).mockRejectedValueOnce(new ApiError({ status: 409, message: "too many" }));
  toggle("🎉");
  expect(shown()).toEqual([
    ["👍", "ben"],
    ["🎉", "ann"],
  ]);
  await settled();
  expect(shown()).toEqual([["👍", "ben"]]);
  vi.mocked(api.removeReaction).mockRejectedValueOnce(new ApiError({ status: 409, message: "too many" }));
  timeline.react("m", "👍", "ben", false);
  timeline.react("m", "👍", "ann", true);
  timeline.react("m", "🎉", "ben", true);
  const before = shown();
  toggle("👍");
  expect(shown()).toEqual([["🎉", "ben"]]);
  await settled();
  expect(shown()).toEqual(before);
  expect(toasts.value.at(-1)?.text).toBe("too many");
});
