// Backoff, pauses that end early when the browser is online again, and coalesced calls.

/** @param {number} ms @returns {Promise<void>} */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Milliseconds before the next try. Doubles up to `longest`, and half of it is chance, so that a thousand
 * clients cut off together do not come back together.
 *
 * @param {number} attempt 0 for the first retry
 * @param {{first?: number, longest?: number}} [limits]
 */
export function backoff(attempt, { first = 800, longest = 15_000 } = {}) {
  const full = Math.min(longest, first * 2 ** Math.min(attempt, 16));
  return full / 2 + (Math.random() * full) / 2;
}

/**
 * Waits, but no longer than until the browser says it is online again.
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
 * @param {number} spacing milliseconds between the beginnings of two runs
 * @returns {() => Promise<T>} resolves when a run that began after the call has ended
 */
export function coalesce(work, spacing) {
  /** @type {Promise<T> | null} */
  let waiting = null;
  /** @type {Promise<unknown>} */
  let running = Promise.resolve();
  let began = -Infinity;
  return () => {
    waiting ??= (async () => {
      await Promise.all([pause(Math.max(0, began + spacing - performance.now())), running.catch(() => {})]);
      waiting = null;
      began = performance.now();
      const run = work();
      running = run;
      return run;
    })();
    return waiting;
  };
}
