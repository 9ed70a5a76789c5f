import assert from "node:assert/strict";

/**
 * Reads until the value is the expected one, for 8 s.
 *
 * @param {() => Promise<unknown>} read @param {unknown} expected
 */
export async function until(read, expected) {
  let last;
  for (let tries = 0; tries < 80; tries++) {
    last = await read();
    if (last === expected) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(last, expected);
}
