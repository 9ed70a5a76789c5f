// The present day, which changes at midnight.
import { signal } from "@preact/signals";
import { dayKey } from "../text/time";

const HOUR_MS = 60 * 60 * 1000;

/** A key of the local day. */
export const today = signal(dayKey(Date.now()));

let timer: ReturnType<typeof setTimeout>;

function update() {
  today.value = dayKey(Date.now());
  const midnight = new Date().setHours(24, 0, 0, 0);
  clearTimeout(timer);
  // A timer stands still while the computer sleeps, and the clock can be set.
  timer = setTimeout(update, Math.min(midnight - Date.now() + 20, HOUR_MS));
}

addEventListener("visibilitychange", update, true);
update();
