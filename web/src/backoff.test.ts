import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { backoff, coalesce, pauseOrOnline } from "./backoff";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("the backoff doubles up to its limit, and half of it is random", () => {
  vi.spyOn(Math, "random").mockReturnValue(0);
  expect([0, 1, 2, 30].map((attempt) => backoff(attempt))).toEqual([400, 800, 1_600, 7_500]);
  vi.spyOn(Math, "random").mockReturnValue(1);
  expect([0, 1, 2, 30].map((attempt) => backoff(attempt))).toEqual([800, 1_600, 3_200, 15_000]);
  vi.restoreAllMocks();
});

test("a pause ends when the browser is online again", async () => {
  const ended = pauseOrOnline(60_000);
  dispatchEvent(new Event("online"));
  await ended;
  expect(vi.getTimerCount()).toBe(0);
});

test("calls during a run share one further run, which starts after the spacing", async () => {
  const starts: number[] = [];
  const began = performance.now();
  const work = coalesce(async () => starts.push(performance.now() - began), 500);
  void work();
  await vi.advanceTimersByTimeAsync(0);
  const shared = [work(), work(), work()];
  expect(new Set(shared).size).toBe(1);
  await vi.advanceTimersByTimeAsync(600);
  expect(starts).toEqual([0, 500]);
});
