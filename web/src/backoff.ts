// Backoff, pauses that end early when the browser is online again, and coalesced calls.

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
 * @param spacing milliseconds between the starts of two runs
 * @returns resolves when a run that started after the call ends
 */
export function coalesce<T>(work: () => Promise<T>, spacing: number): () => Promise<T> {
  let waiting: Promise<T> | null = null;
  let running: Promise<unknown> = Promise.resolve();
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
