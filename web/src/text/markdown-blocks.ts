// The block rules of messages. markdown-it has the rules of CommonMark; these are the differences.
import type { MarkdownIt, StateBlock } from "markdown-it";

/** Quotes and lists inside this many others stay text. */
const MAX_LEVEL = 12;
/** A quote needs a blank after its mark, because ">:(" is none. */
const QUOTE = /^> /;
/** A list begins with 1, because "29. 11. 2026" is a date, and is not empty. */
const LIST = /^(?:[-*]|1[.)])[ \t]+\S/;

type Rule = (state: StateBlock, start: number, end: number, silent: boolean) => boolean;

export function messageBlocks(md: MarkdownIt) {
  const { ruler } = md.block;
  const rules: { name: string; fn: Rule }[] = (ruler as any).__rules__;
  const original = (name: string) => rules.find((each) => each.name === name)?.fn as Rule;
  const [blockquote, list] = [original("blockquote"), original("list")];
  ruler.at(
    "blockquote",
    (state: StateBlock, start: number, end: number, silent: boolean) => {
      if (state.level >= MAX_LEVEL || !QUOTE.test(lineOf(state, start))) return false;
      let last = start + 1;
      // In CommonMark, the unmarked line after a quote belongs to it.
      while (last < end && lineOf(state, last).startsWith(">")) last++;
      return blockquote(state, start, last, silent);
    },
    { alt: ["paragraph", "blockquote", "list"] },
  );
  ruler.at(
    "list",
    (state: StateBlock, start: number, end: number, silent: boolean) =>
      state.level < MAX_LEVEL && LIST.test(lineOf(state, start)) && list(state, start, end, silent),
    { alt: ["paragraph", "blockquote"] },
  );
  ruler.at("paragraph", paragraph);
}

const lineOf = ({ src, bMarks, tShift, eMarks }: StateBlock, line: number) =>
  src.slice(bMarks[line] + tShift[line], eMarks[line]);

/** A paragraph with its blanks, which ends with the item of a list that it is in. */
function paragraph(state: StateBlock, start: number, end: number) {
  const terminators = state.md.block.ruler.getRules("paragraph");
  const { parentType } = state;
  state.parentType = "paragraph";
  let next = start + 1;
  while (next < end && !state.isEmpty(next) && state.sCount[next] >= state.blkIndent) {
    if (terminators.some((rule) => rule(state, next, end, true))) break;
    next++;
  }
  state.parentType = parentType;
  state.line = next;
  const token = state.push("inline", "", 0);
  token.content = state.getLines(start, next, state.blkIndent, false);
  token.map = [start, next];
  token.children = [];
  return true;
}
