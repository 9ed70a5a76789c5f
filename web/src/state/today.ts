// The present day, which changes at midnight.
import { effect, signal } from "@preact/signals";
import { clockOffset, now } from "../clock";
import { dayKey } from "../text/time";

const HOUR_MS = 60 * 60 * 1000;

/** A key of the local day. */
export const today = signal(dayKey(now()));

let timer: ReturnType<typeof setTimeout>;

function update() {
  today.value = dayKey(now());
  const midnight = new Date(now()).setHours(24, 0, 0, 0);
  clearTimeout(timer);
  // A timer stands still while the computer sleeps, and the clock can be set.
  timer = setTimeout(update, Math.min(midnight - now() + 20, HOUR_MS));
}

addEventListener("visibilitychange", update, true);
effect(() => {
  // The first answer of the server tells how wrong the browser's clock is.
  void clockOffset.value;
  update();
});
