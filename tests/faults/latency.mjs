// Latency of deliveries, from the start of a SEND or POST to the MESSAGE at each client of the room.

/** Length of the window of which the 99th percentile is taken. */
export const WINDOW_MS = 2_000;

/** @param {number[]} numbers @param {number} share */
export function percentile(numbers, share) {
  if (!numbers.length) return 0;
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/**
 * Latencies of the messages sent within the time. A delivery that has not come is infinitely late.
 *
 * @param {import("./load.mjs").Load} load
 * @param {number} from
 * @param {number} to
 */
export function latencies({ history, audience }, from, to) {
  const found = [];
  for (const { id, channel, at } of [...history.sends.values()].reverse()) {
    if (at < from) break;
    if (at >= to) continue;
    const deliveries = history.firstDeliveries.get(id);
    for (const client of audience.get(channel) ?? []) found.push((deliveries?.get(client) ?? Infinity) - at);
  }
  return found;
}

/** @param {import("./load.mjs").Load} load @param {number} from @param {number} to */
export const p99 = (load, from, to) => percentile(latencies(load, from, to), 0.99);

/**
 * The longest time from the start of the accepted try to a delivery, in ms.
 *
 * @param {import("./history.mjs").History} history
 */
export function longestDelay({ sends, firstDeliveries }) {
  let longest = 0;
  for (const [id, deliveries] of firstDeliveries) {
    const triedAt = sends.get(id)?.triedAt ?? Infinity;
    for (const at of deliveries.values()) longest = Math.max(longest, at - triedAt);
  }
  return longest;
}
