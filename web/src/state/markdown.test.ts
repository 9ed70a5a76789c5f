import { expect, test } from "vitest";
import { parseMarkdown } from "../text/markdown";
import { hasMarkers, parserFor, prepareParser, withoutSpoilers } from "./markdown";

const PLAIN = [
  "one\ntwo\n\n\nthree",
  "  indented\n    more\n\tand a tab",
  "see www.example.com/a?b=c, ann@example.com\n29. 11. 2026 - a date, a+b=c & <b>e</b>",
  "# no heading\n===\n[a](https://b) ![c](d) &amp;",
  "trailing  \nblanks 반가워요 ^^",
];

test.each(PLAIN)("text without markers needs no parser, and would be the same with it: %j", (content) => {
  expect(hasMarkers(content)).toBe(false);
  expect(parserFor(content)(content)).toEqual(parseMarkdown(content));
});

test.each(["**b**", "a_b", "~~s~~", "||s||", "`c`", "\\*", "> q", "one\n  - item", "\t* item", "1. item", "1) item"])(
  "text with markers waits for the parser: %j",
  (content) => expect(hasMarkers(content)).toBe(true),
);

test("until the parser is there, no text shows what may be a spoiler", async () => {
  const shown = (content: string) => parserFor(content)(content);
  const cover = (text: string) => ({ type: "spoiler", children: [text] });
  expect(shown("**b**")).toEqual(["**b**"]);
  expect(shown("see ||who\ndid it||, www.example.com")).toEqual([
    "see ",
    cover("who\ndid it"),
    ", ",
    { type: "link", href: "https://www.example.com", children: ["www.example.com"] },
  ]);
  expect(shown("||a|| b ||c||")).toEqual([cover("a|| b ||c")]);
  expect(shown("|||a|||")).toEqual([cover("|a|")]);
  for (const text of ["a || b", "a ||| b", "||||", "|"]) expect(shown(text)).toEqual([text]);
  expect(withoutSpoilers("||a|| b ||c|| d")).toBe("[spoiler] d");

  await prepareParser(["plain", "**b**"]);
  expect(shown("**b**")).toEqual([{ type: "strong", children: ["b"] }]);
  expect(shown("||a|| b ||c||")).toEqual([cover("a"), " b ", cover("c")]);
  expect(withoutSpoilers("||a|| b ||c|| d")).toBe("[spoiler] b [spoiler] d");
});
