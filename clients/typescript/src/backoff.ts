// Backoff, and pauses that end early when the browser is online again.

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Milliseconds before the next attempt. Doubles up to `max`; half of it is random, so that a thousand clients that
 * disconnect together do not reconnect together.
 *
 * @param attempt 0 for the first retry
 */
export function backoff(attempt: number, { first = 800, max = 15_000 }: { first?: number; max?: number } = {}) {
  const full = Math.min(max, first * 2 ** Math.min(attempt, 16));
  return full / 2 + (Math.random() * full) / 2;
}

/** Waits for `ms`, or until the browser is online again. */
export function pauseOrOnline(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    // Node has no such event.
    globalThis.addEventListener?.("online", finish);
  });
}
