import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff, pauseOrOnline } from "./backoff.js";

test("the backoff doubles up to its limit, and half of it is random", (context) => {
  const random = context.mock.method(Math, "random", () => 0);
  const waits = () => [0, 1, 2, 30].map((attempt) => backoff(attempt));
  assert.deepEqual(waits(), [400, 800, 1_600, 7_500]);
  random.mock.mockImplementation(() => 1);
  assert.deepEqual(waits(), [800, 1_600, 3_200, 15_000]);
});

test("a pause ends when the browser is online again, and in Node after its time", async () => {
  await pauseOrOnline(1);
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  try {
    const ended = pauseOrOnline(60_000);
    page.dispatchEvent(new Event("online"));
    await ended;
  } finally {
    Reflect.deleteProperty(globalThis, "addEventListener");
    Reflect.deleteProperty(globalThis, "removeEventListener");
  }
});
