// Backoff, pauses that end early when the browser is online again, and coalesced calls.

/** @param {number} ms @returns {Promise<void>} */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Milliseconds before the next attempt. Doubles up to `max`; half of it is random, so that a thousand clients that
 * disconnect together do not reconnect together.
 *
 * @param {number} attempt 0 for the first retry
 * @param {{first?: number, max?: number}} [limits]
 */
export function backoff(attempt, { first = 800, max = 15_000 } = {}) {
  const full = Math.min(max, first * 2 ** Math.min(attempt, 16));
  return full / 2 + (Math.random() * full) / 2;
}

/**
 * Waits for `ms`, or until the browser is online again.
 *
 * @param {number} ms
 * @returns {Promise<void>}
 */
export function pauseOrOnline(ms) {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      removeEventListener("online", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    addEventListener("online", finish);
  });
}

/**
 * Coalesces bursts of calls to `work`.
 *
 * The first call runs at once. Calls made during a run, or within `spacing` of its start, share one further run.
 * Two runs never overlap.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @param {number} spacing milliseconds between the starts of two runs
 * @returns {() => Promise<T>} resolves when a run that started after the call ends
 */
export function coalesce(work, spacing) {
  /** @type {Promise<T> | null} */
  let waiting = null;
  /** @type {Promise<unknown>} */
  let running = Promise.resolve();
  let startedAt = -Infinity;
  return () => {
    waiting ??= (async () => {
      await Promise.all([pause(Math.max(0, startedAt + spacing - performance.now())), running.catch(() => {})]);
      waiting = null;
      startedAt = performance.now();
      const run = work();
      running = run;
      return run;
    })();
    return waiting;
  };
}
