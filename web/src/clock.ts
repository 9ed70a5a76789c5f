// The server's clock. The browser's may be hours off: ages, days and the times of pending messages would be wrong.

import { signal } from "@preact/signals";

/** A difference up to this is noise: the header has whole seconds, and the network is slow. */
const TOLERANCE_MS = 5_000;

/** Milliseconds from the browser's clock to the server's. */
export const clockOffset = signal(0);

/** The server's time in milliseconds since 1970. */
export const now = () => Date.now() + clockOffset.peek();

/**
 * @param header the Date of a response
 * @param sentAt when the request was sent, by the browser's clock
 */
export function learnTime(header: string | null, sentAt: number) {
  const receivedAt = Date.now();
  const difference = Date.parse(header ?? "") - (sentAt + receivedAt) / 2;
  // Negative when somebody set the browser's clock during the request.
  const roundTrip = receivedAt - sentAt;
  if (Number.isNaN(difference) || roundTrip < 0) return;
  clockOffset.value = Math.abs(difference) > TOLERANCE_MS + roundTrip ? difference : 0;
}
