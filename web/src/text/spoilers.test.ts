import { expect, test } from "vitest";
import { parseMarkdown } from "./markdown";
import { coverRanges, spoilersIn, widestSpoiler } from "./spoilers";

const covered = (content: string) => coverRanges(content, spoilersIn(content, parseMarkdown(content)), "#");
const widest = (content: string) => coverRanges(content, widestSpoiler(content), "#");

/** An excerpt, as the server cuts it. */
const cut = (text: string) => `${[...text.padEnd(200, " and so on")].slice(0, 200).join("")}…`;

test.each([
  ["it was ||the butler||.", "it was #."],
  ["||a|| b ||c||", "# b #"],
  ["**it** was ||the *butler*, www.example.com||", "**it** was #"],
  ["> he said ||one\n> two||\n\n- item\n- ||three||", "> he said #\n\n- item\n- #"],
  ["😀 ||비밀|| 😀", "😀 # 😀"],
])("each spoiler is a word, and the rest of the text stays: %j", (content, expected) =>
  expect(covered(content)).toBe(expected),
);

test.each([
  ["`a || b` and ||secret||", "`a || b` and #"],
  ["`` a||b `` ||secret|| c || d", "`` a||b `` # c || d"],
  ["```\na || b\n```\n||secret||", "```\na || b\n```\n#"],
  ["\\|| a ||secret||", "\\|| a #"],
  ["\\|||secret||", "\\|#"],
  ["a || b\n\n- ||secret||", "a || b\n\n- #"],
  ["||| ||secret||", "||| #"],
  ["**a ||b** c ||secret||", "**a ||b** c #"],
])("bars that are no markers do not pair with those of a spoiler: %j", (content, expected) =>
  expect(covered(content)).toBe(expected),
);

test.each(["a || b", "||||", "|||a|||", "a | b", "or || or …", "```\na || b\n``` ||"])(
  "text without spoilers stays: %j",
  (content) => expect(covered(content)).toBe(content),
);

test("bars that the parser drops, after the opening of a code block, leave nothing uncovered", () => {
  expect(covered("```a||b\ncode\n```\n||secret||")).toBe("```a#");
});

test("the end of an excerpt that is cut inside of a spoiler is covered", () => {
  expect(covered(cut("||a|| was ||the butler"))).toBe("# was #");
  expect(covered(cut("was ||the `butler` **and"))).toBe("was #");
  expect(covered(cut("x \\|||the butler"))).toBe("x \\#");
  expect(covered(`${"x".repeat(190)} ||who||…`)).toBe(`${"x".repeat(190)} #…`);
  // Bars in code, and those of a text that is not cut.
  expect(covered(cut("`a || b`"))).toBe(cut("`a || b`"));
  expect(covered("a || b".padEnd(300))).toBe("a || b".padEnd(300));
});

test("without a parser, all between the first bars and the last is covered", () => {
  expect(widest("a ||b|| c ||d|| e")).toBe("a # e");
  expect(widest(cut("a ||b|| c ||d"))).toBe("a #");
  expect(widest(cut("a ||b"))).toBe("a #");
  for (const text of ["a || b", "||||", "|a|", ""]) expect(widest(text)).toBe(text);
});
