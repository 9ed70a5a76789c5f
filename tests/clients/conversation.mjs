// A conversation of two, and what must hold after it.
import assert from "node:assert/strict";

/** @typedef {Pick<import("./talker.mjs").Talker, "heard" | "closed" | "errors">} Heard */

/** @param {string} name @param {number} count */
export const texts = (name, count) => Array.from({ length: count }, (_, number) => `${name} ${number}`);

/**
 * What somebody heard of the channel's messages from the first to the last: all, once, in the order of their positions,
 * and of each speaker in the order in which they were said.
 *
 * @param {Heard} listener
 * @param {string[][]} said by each speaker
 */
export function heardAll({ heard, errors }, ...said) {
  assert.deepEqual(errors, []);
  const count = said.reduce((sum, { length }) => sum + length, 0);
  assert.deepEqual(heard.map(([seq]) => seq), Array.from({ length: count }, (_, index) => index + 1));
  for (const one of said) {
    const among = new Set(one);
    assert.deepEqual(heard.map(([, text]) => text).filter((text) => among.has(text)), one);
  }
}
