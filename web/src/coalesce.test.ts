import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { coalesce } from "./coalesce";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
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
