import { expect, test } from "vitest";
import { excerptOf } from "./excerpt";

const shown = (content: string, marks: [number, number][]) =>
  excerptOf(content, marks)
    .map(({ text, marked }) => (marked ? `[${text}]` : text))
    .join("");

test("the words of the search are marked, counted in code points", () => {
  expect(shown("😀 Prehistory", [[5, 9]])).toBe("😀 Pre[hist]ory");
  expect(
    shown("foo bar", [
      [0, 3],
      [4, 7],
    ]),
  ).toBe("[foo] [bar]");
  expect(shown("file only", [])).toBe("file only");
  expect(shown("", [])).toBe("");
});

test("of a long text, the part around the first mark is shown", () => {
  const long = `${"a".repeat(500)}needle${"b".repeat(500)}`;
  const text = shown(long, [[500, 506]]);
  expect(text).toBe(`…${"a".repeat(60)}[needle]${"b".repeat(174)}…`);
  expect(shown(long, []).length).toBe(241);
});

test("marks outside of the text and of each other are cut", () => {
  expect(
    shown("abcdef", [
      [1, 4],
      [2, 5],
      [5, 99],
      [200, 201],
    ]),
  ).toBe("a[bcd][e][f]");
});

test("a spoiler is a word, which is marked when the search found something in the spoiler", () => {
  const covered = (content: string, marks: [number, number][], spoilers: [number, number][]) =>
    excerptOf(content, marks, spoilers, "#")
      .map(({ text, marked }) => (marked ? `[${text}]` : text))
      .join("");
  const content = "😀 it ||the butler|| was";
  const spoiler: [number, number] = [6, 20];
  const place = (word: string): [number, number] => {
    const at = [...content.slice(0, content.indexOf(word))].length;
    return [at, at + word.length];
  };
  expect(covered(content, [], [spoiler])).toBe("😀 it # was");
  expect(covered(content, [place("it"), place("was")], [spoiler])).toBe("😀 [it] # [was]");
  expect(covered(content, [place("the"), place("butler"), place("was")], [spoiler])).toBe("😀 it [#] [was]");
  expect(covered(content, [[2, 10]], [spoiler])).toBe("😀 [it #] was");
  expect(
    covered(
      "||a||||b||",
      [[7, 8]],
      [
        [0, 5],
        [5, 10],
      ],
    ),
  ).toBe("#[#]");
  const long = `||${"a".repeat(500)}||needle${"b".repeat(500)}`;
  expect(covered(long, [[504, 510]], [[0, 504]])).toBe(`#[needle]${"b".repeat(233)}…`);
});
