// Texts to send, and the check of the messages that a client received.
import assert from "node:assert/strict";

/** @typedef {Pick<import("./stomp-client.mjs").StompClient, "received" | "closed" | "errors">} Received */

/** @param {string} name @param {number} count */
export const texts = (name, count) => Array.from({ length: count }, (_, number) => `${name} ${number}`);

/**
 * Asserts that a client received every message of the channel once, by position, and each sender's in the order of sending.
 *
 * @param {Received} client
 * @param {string[][]} sent texts of each sender
 */
export function assertReceivedAll({ received, errors }, ...sent) {
  assert.deepEqual(errors, []);
  const count = sent.reduce((sum, { length }) => sum + length, 0);
  assert.deepEqual(received.map(([seq]) => seq), Array.from({ length: count }, (_, index) => index + 1));
  for (const texts of sent) {
    const wanted = new Set(texts);
    assert.deepEqual(received.map(([, text]) => text).filter((text) => wanted.has(text)), texts);
  }
}
