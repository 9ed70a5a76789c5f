import { expect, test } from "vitest";
import { parseMarkdown } from "./markdown";
import type { Markdown } from "./markdown";

/** The tree as text: "strong(a b)". */
const show = (nodes: Markdown[]): string =>
  nodes
    .map((node) => {
      if (typeof node === "string") return node;
      const name = node.type === "list" && node.ordered ? "ordered" : node.type;
      return `${name}${node.language ? `.${node.language}` : ""}(${show(node.children)})`;
    })
    .join("");

const shown = (source: string) => show(parseMarkdown(source));

test.each([
  [
    "**bold** *italic* _italic_ ~~strike~~ ||spoiler|| `code`",
    "strong(bold) em(italic) em(italic) s(strike) spoiler(spoiler) code(code)",
  ],
  ["***both*** **a *b* c**", "em(strong(both)) strong(a em(b) c)"],
  ["||a **b** ~~c~~||", "spoiler(a strong(b) s(c))"],
  ["**a ||b||**", "strong(a spoiler(b))"],
  ["`**not**` \\*not\\* 2 * 3 * 4 snake_case_name", "code(**not**) *not* 2 * 3 * 4 snake_case_name"],
  ["**unclosed ~~open ||open", "**unclosed ~~open ||open"],
  ["|||| ~~~~", "|||| ~~~~"],
  // Next to Korean and Japanese letters.
  [
    "**한국어**를 **“인용”**은 **(괄호)**를",
    "strong(한국어)를 strong(“인용”)은 strong(괄호)를".replace("괄호", "(괄호)"),
  ],
  ["반가워~~ 또 봐~~", "반가워~~ 또 봐~~"],
])("spans: %s", (source, tree) => {
  expect(shown(source)).toBe(tree);
});

test.each([
  ["> quoted\nnot quoted", "quote(quoted)not quoted"],
  ["before\n> one\n> two\n\nafter", "before\nquote(one\ntwo)\nafter"],
  [">:( no quote", ">:( no quote"],
  ["- one\n- two\n  - inner\nafter", "list(item(one)item(two\nlist(item(inner))))after"],
  ["1. one\n2. two", "ordered(item(one)item(two))"],
  ["29. 11. 2026 is a date", "29. 11. 2026 is a date"],
  ["-", "-"],
  ["- \ntext", "- \ntext"],
  ["```js\nlet a = 1;\n\n  b\n```\nafter", "pre.js(let a = 1;\n\n  b)after"],
  ["```\nno fence after```", "pre(no fence after)"],
  ["```", "```"],
  ["> ```\n> code\n> ```", "quote(pre(code))"],
])("blocks: %s", (source, tree) => {
  expect(shown(source)).toBe(tree);
});

test.each([
  "one\ntwo\n\n\nthree",
  "  indented\n    more\n\tand a tab",
  "# no heading\n---\n===\n[a](https://b) ![c](d) <b>e</b> &amp; | f |",
  "trailing  \nblanks",
  "<script>alert(1)</script>",
  "\u200b\u202e \ud800",
])("text without markup stays as it is: %j", (source) => {
  const text = (nodes: Markdown[]): string =>
    nodes.map((node) => (typeof node === "string" ? node : text(node.children))).join("");
  expect(text(parseMarkdown(source))).toBe(source);
});

test("a link keeps markers in it, and ends before those around it", () => {
  expect(shown("https://docs.python.org/3/library/__main__.html now")).toBe(
    "link(https://docs.python.org/3/library/__main__.html) now",
  );
  expect(shown("**https://example.com/a_b_c**을")).toBe("strong(link(https://example.com/a_b_c))을");
  expect(shown("||https://example.com|| `https://example.com`")).toBe(
    "spoiler(link(https://example.com)) code(https://example.com)",
  );
});

test("deep nesting is cut, with its text", () => {
  const source = "> ".repeat(900) + "deep";
  expect(shown(source)).toBe(`${"quote(".repeat(12)}${source.slice(24)}${")".repeat(12)}`);
  expect(shown(`${"*a ".repeat(60)}${"b* ".repeat(60)}`.trim()).match(/em\(/g)).toHaveLength(20);
});

test("a drawing of markers stays as it is, with its links", () => {
  const drawing = "|_*\n".repeat(100);
  expect(shown(drawing + "https://example.com")).toBe(`${drawing}link(https://example.com)`);
  expect(shown(`\`\`\`\n${drawing}\n\`\`\`\n**b**`)).toBe(`pre(${drawing})strong(b)`);
});
