import { pause } from "discodeit-client";

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
