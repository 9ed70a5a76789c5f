import { expect, test } from "vitest";
import { parseMarkdown } from "../text/markdown";
import { hasMarkers, parserFor, prepareParser } from "./markdown";

const PLAIN = [
  "one\ntwo\n\n\nthree",
  "  indented\n    more\n\tand a tab",
  "see www.example.com/a?b=c, ann@example.com\n29. 11. 2026 - a date, a+b=c & <b>e</b>",
  "# no heading\n===\n[a](https://b) ![c](d) &amp;",
  "trailing  \nblanks 반가워요 ^^",
];

test.each(PLAIN)("text without markers needs no parser, and would be the same with it: %j", (content) => {
  expect(hasMarkers(content)).toBe(false);
  expect(parserFor(content)?.(content)).toEqual(parseMarkdown(content));
});

test.each(["**b**", "a_b", "~~s~~", "||s||", "`c`", "\\*", "> q", "one\n  - item", "\t* item", "1. item", "1) item"])(
  "text with markers waits for the parser: %j",
  (content) => expect(hasMarkers(content)).toBe(true),
);

test("the parser is there once it was prepared", async () => {
  expect(parserFor("**b**")).toBeNull();
  await prepareParser(["plain", "**b**"]);
  expect(parserFor("**b**")?.("**b**")).toEqual([{ type: "strong", children: ["b"] }]);
});
