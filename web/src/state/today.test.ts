import { afterEach, expect, test, vi } from "vitest";
import { dayKey, dayLabel } from "../text/time";

afterEach(() => void vi.useRealTimers());

test("the day changes at midnight, and with it the label of a message", async () => {
  vi.useFakeTimers({ now: new Date(2026, 4, 9, 23, 59, 58) });
  const { today } = await import("./today");
  const sent = new Date(2026, 4, 9, 12).toISOString();
  expect(dayLabel(sent, today.value)).toBe("Today");
  vi.advanceTimersByTime(3_000);
  expect(today.value).toBe(dayKey(new Date(2026, 4, 10).getTime()));
  expect(dayLabel(sent, today.value)).toBe("Yesterday");
  vi.advanceTimersByTime(24 * 60 * 60 * 1000);
  expect(dayLabel(sent, today.value)).toMatch(/^Saturday/);
});
