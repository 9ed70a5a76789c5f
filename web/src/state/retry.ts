import { ApiError } from "../http";
import { backoff, pauseOrOnline } from "discodeit-client";
import { me } from "../session";

/**
 * Retries a call until it succeeds or fails permanently.
 *
 * Transient errors are retried with backoff, as long as the same user stays signed in.
 *
 * @param onFailure called after each transient error
 */
export async function retry<T>(work: () => Promise<T>, onFailure = () => {}): Promise<T> {
  const caller = me.peek()?.id;
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError && error.transient) || me.peek()?.id !== caller) throw error;
      onFailure();
      await pauseOrOnline(backoff(attempt));
    }
  }
}
