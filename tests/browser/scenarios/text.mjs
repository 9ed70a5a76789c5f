// The time that the functions on text take for hostile input.
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";

/** Modules with functions on text: all in dist/app/text/, and the text area's. */
const modules = [
  ...(await readdir(new URL("../../../dist/app/text/", import.meta.url))).map((file) => `/app/text/${file}`),
  "/app/views/writing.js",
];
/** Exports of these modules that take no text: components, and the focus of the composer. */
const NO_TEXT = ["WritingArea", "Counter", "focusComposer"];

/** The longest message, in UTF-16 code units. */
const MAX_LENGTH = 2_000;
const LIMIT_MS = 10;

/** Text that makes an ambiguous regular expression backtrack: a repeated unit, and an end that does not match. */
const units = ["\u231a", "\u{1f600}", "\u200d", " ", "\n", " \n", "a", "```", "```a", "`", "`a", "((", "))", "[(", ".)", ".,!?", "https://", "https://a", "http://[", "a.", "_", "-", "\t", "\u3000", "\ufe0f", "\u0301", "\u202e", "\ud800", "0", "2026-"];
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
      const { slow, names } = await ann.page.evaluate(
        async ({ hostile, limit, modules, without }) => {
          const exports = await Promise.all(modules.map((path) => import(path)));
          const functions = exports.flatMap(Object.entries).filter(([name, value]) => typeof value === "function" && !without.includes(name));
          const slow = [];
          for (const [name, run] of functions) {
            for (const text of hostile) {
              let best = Infinity;
              // The fastest of three: others use the processors.
              for (let round = 0; round < 3 && best > limit; round++) {
                const started = performance.now();
                try {
                  run(text);
                } catch (error) {
                  // A format of times takes no other text than an instant.
                  if (!(error instanceof RangeError)) throw error;
                }
                best = Math.min(best, performance.now() - started);
              }
              if (best > limit) slow.push(`${name}(${JSON.stringify(text.slice(0, 40))}…) of ${text.length}: ${best} ms`);
            }
          }
          return { slow, names: functions.map(([name]) => name) };
        },
        { hostile, limit: LIMIT_MS, modules, without: NO_TEXT },
      );
      assert.deepEqual(slow, []);
      for (const name of ["rich", "isOnlyEmoji", "trimmed", "lengthOf", "sizeOf", "dayLabel"]) assert.ok(names.includes(name), name);
    },
  ],
];
