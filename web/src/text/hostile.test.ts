// The time that the functions on text take for hostile input.
import { expect, test } from "vitest";
import * as writing from "../views/writing";

/** Modules with functions on text: all in this folder, and the text area's. */
const modules = import.meta.glob<Record<string, unknown>>(["./*.ts", "./*.tsx", "!./*.test.ts"], { eager: true });
/** Exports of these modules that take no text: components, the focus of the composer, and rules. */
const NO_TEXT = ["messageBlocks", "messageSpans", "WritingArea", "Counter", "focusComposer"];

/** Of functions that take more than a text. */
const ARGUMENTS: Record<string, (text: string) => unknown[]> = {
  coverRanges: (text) => [text, everySecond(text), "#"],
  excerptOf: (text) => [text, everySecond(text), everySecond(text), "#"],
  findMentions: (text) => [
    text,
    Array.from({ length: 50 }, (_, at) => ({ id: "", username: text.slice(at, at + 50) })),
  ],
  matching: (text) => [Array.from({ length: 50 }, (_, at) => ({ id: "", username: text.slice(at, at + 50) })), text, 8],
  nameBefore: (text) => [text, text.length],
  quoteOf: (text) => [{ content: text }],
  spoilersIn: (text) => [text, [text]],
};

const everySecond = (text: string) => Array.from({ length: text.length / 2 }, (_, at) => [at * 2, at * 2 + 1]);

/** The longest message, in UTF-16 code units. */
const MAX_LENGTH = 2_000;
const LIMIT_MS = 10;

/** Text that makes an ambiguous regular expression backtrack: a repeated unit, and an end that does not match. */
const units = [
  ..."\u231a \u{1f600} \u200d a ``` ```a ` `a (( )) [( .) .,!? https:// https://a http://[ a. _ -".split(" "),
  ..."* ** *** *a **a_ a*b _a_ ~~ ~~a || ||a \\ > >> www. www.a. @ a@ @a. a@a.aa . ( [ ]) \uac00 **\uac00".split(" "),
  ...[
    "> ",
    "- ",
    "* ",
    "1. ",
    "*a ",
    "**a b** ",
    "||a ~~b ",
    ">\n",
    "> a\n",
    "- a\n",
    "1. a\n",
    "- a\n  ",
    "```\na\n```\n",
    "~~a\n",
  ],
  ..."\ufe0f \u0301 \u202e \ud800 0 2026-".split(" "),
  ...[" ", "\n", " \n", "\t", "\u3000"],
];
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

/** The shortest of five times, because others use the processors. */
function fastest(run: (text: string) => unknown, text: string): number {
  let best = Infinity;
  for (let round = 0; round < 5 && best > LIMIT_MS; round++) {
    const started = performance.now();
    try {
      run(text);
    } catch (error) {
      // A format of times takes no other text than an instant.
      if (!(error instanceof RangeError)) throw error;
    }
    best = Math.min(best, performance.now() - started);
  }
  return best;
}

const functions = [...Object.values(modules), writing]
  .flatMap((exports) => Object.entries(exports))
  .filter(([name, value]) => typeof value === "function" && !NO_TEXT.includes(name)) as [
  string,
  (...given: unknown[]) => unknown,
][];

test("every function on text is found", () => {
  const names = functions.map(([name]) => name);
  expect(names).toEqual(
    expect.arrayContaining(["parseMarkdown", "findLinks", "isOnlyEmoji", "trimmed", "lengthOf", "sizeOf", "dayLabel"]),
  );
});

test.each(functions)("%s takes at most 10 ms for any 2,000 characters", (name, run) => {
  const work = (text: string) => run(...(ARGUMENTS[name]?.(text) ?? [text]));
  const slow = hostile.filter((text) => fastest(work, text) > LIMIT_MS);
  expect(slow.map((text) => `${name}(${JSON.stringify(text.slice(0, 40))}…) of ${text.length}`)).toEqual([]);
});
