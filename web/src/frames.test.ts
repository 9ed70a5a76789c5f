import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { effect, signal } from "@preact/signals";
import { inFrame, runFrame } from "./frames";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("work of one frame runs in order and renders once", () => {
  const count = signal(0);
  const seen: number[] = [];
  const end = effect(() => void seen.push(count.value));
  for (let each = 1; each <= 3; each++) inFrame(() => (count.value = count.peek() * 10 + each));
  expect(seen).toEqual([0]);
  vi.advanceTimersToNextFrame();
  expect(seen).toEqual([0, 123]);
  vi.runAllTimers();
  expect(seen).toEqual([0, 123]);
  end();
});

test("work runs in a hidden tab, which has no frames", () => {
  vi.stubGlobal("requestAnimationFrame", () => 0);
  const work = vi.fn();
  inFrame(work);
  vi.advanceTimersByTime(250);
  expect(work).toHaveBeenCalledOnce();
  vi.unstubAllGlobals();
});

test("an error does not keep the rest from running", () => {
  const report = vi.spyOn(console, "error").mockReturnValue();
  const work = vi.fn();
  inFrame(() => {
    throw new Error("broken");
  });
  inFrame(work);
  runFrame();
  expect(work).toHaveBeenCalledOnce();
  expect(report).toHaveBeenCalledOnce();
});
