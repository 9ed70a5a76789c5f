import { ApiError } from "../http.js";
import { backoff, pauseOrOnline } from "../patience.js";
import { me } from "../session.js";

/**
 * Does something that must succeed in the end, for as long as the same user stays signed in: what merely failed in
 * passing is tried again.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function insist(work) {
  const asker = me.peek()?.id;
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError && error.transient) || me.peek()?.id !== asker) throw error;
      await pauseOrOnline(backoff(attempt));
    }
  }
}
