import { ApiError } from "../http.js";
import { backoff, pauseOrOnline } from "../backoff.js";
import { me } from "../session.js";

/**
 * Retries a call until it succeeds or fails permanently.
 *
 * Transient errors are retried with backoff, as long as the same user stays signed in.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function retry(work) {
  const caller = me.peek()?.id;
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError && error.transient) || me.peek()?.id !== caller) throw error;
      await pauseOrOnline(backoff(attempt));
    }
  }
}
