// The time that the functions on text take for hostile input.
import assert from "node:assert/strict";

/** The longest message, in UTF-16 code units. */
const MAX_LENGTH = 2_000;
const LIMIT_MS = 10;

/** Text that makes an ambiguous regular expression backtrack: a repeated unit, and an end that does not match. */
const units = ["\u231a", "\u{1f600}", "\u200d", " ", "\n", " \n", "a", "```", "```a", "`", "`a", "((", "))", "[(", ".)", ".,!?", "https://", "https://a", "http://[", "a.", "_", "-"];
const ends = ["", "a", "\u231a", "`", ")", "\n"];
const starts = ["", "https://example.org/", "```"];
const hostile = units.flatMap((unit) =>
  starts.flatMap((start) =>
    ends.flatMap((end) =>
      // Short ones, too: some functions look only at short text.
      [20, 23, 24, MAX_LENGTH].map((length) => {
        const room = length - start.length - end.length;
        return start + unit.repeat(Math.max(0, Math.floor(room / unit.length))) + end;
      }),
    ),
  ),
);

/** @type {import("../run.mjs").Scenario[]} */
export const text = [
  [
    "No text of 2,000 characters takes a function on text longer than 10 ms",
    async ({ ann }) => {
      const slow = await ann.page.evaluate(
        async ({ hostile, limit }) => {
          const load = (/** @type {string} */ path) => import(path);
          const [{ rich, isOnlyEmoji }, { trimmed }] = await Promise.all([
            load("/app/text/rich.js"),
            load("/app/views/writing.js"),
          ]);
          const slow = [];
          for (const [name, run] of Object.entries({ rich, isOnlyEmoji, trimmed })) {
            for (const text of hostile) {
              let best = Infinity;
              // The fastest of three: others use the processors.
              for (let round = 0; round < 3 && best > limit; round++) {
                const started = performance.now();
                run(text);
                best = Math.min(best, performance.now() - started);
              }
              if (best > limit) slow.push(`${name}(${JSON.stringify(text.slice(0, 40))}…) of ${text.length}: ${best} ms`);
            }
          }
          return slow;
        },
        { hostile, limit: LIMIT_MS },
      );
      assert.deepEqual(slow, []);
    },
  ],
];
