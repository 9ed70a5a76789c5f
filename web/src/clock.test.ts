import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { learnTime, now } from "./clock";

const NOON = Date.parse("2026-03-01T12:00:00Z");
const HOURS = 3_600_000;
const header = (at: number) => new Date(at).toUTCString();

beforeEach(() => void vi.useFakeTimers({ now: NOON }));
afterEach(() => void vi.useRealTimers());

test.each([2, -2])("a browser's clock that is %d hours off does not count", (hours) => {
  learnTime(header(NOON - hours * HOURS), NOON);
  expect(now()).toBe(NOON - hours * HOURS);
  vi.advanceTimersByTime(1_000);
  expect(now()).toBe(NOON - hours * HOURS + 1_000);
});

test("small differences and headers that cannot be read change nothing", () => {
  learnTime(header(NOON + 2 * HOURS), NOON);
  for (const odd of [null, "", "yesterday"]) learnTime(odd, NOON);
  expect(now()).toBe(NOON + 2 * HOURS);
  learnTime(header(NOON + 3_000), NOON);
  expect(now()).toBe(NOON);
});

test("a slow response does not count as a difference, nor does a clock that was set during it", () => {
  learnTime(header(NOON - 10_000), NOON - 20_000);
  expect(now()).toBe(NOON);
  learnTime(header(NOON), NOON + HOURS);
  expect(now()).toBe(NOON);
});
