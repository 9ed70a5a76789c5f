// Where the spoilers of a text are, for views that show the text of a message without its elements.
import { MAX_EXCERPT_LENGTH } from "./quote";
import type { Markdown } from "./markdown";

/** From and to, in UTF-16 code units, with the bars. */
export type Range = [number, number];

const BARS = "||";
const BAR = /\|/g;

const barsIn = (text: string) => text.match(BAR)?.length ?? 0;

/** Whether a text is an excerpt of a longer one, which may end inside a spoiler. */
const isCut = (content: string) => content.endsWith("…") && content.length > MAX_EXCERPT_LENGTH;

/**
 * The spoilers of a text, in order.
 *
 * @param nodes the parsed text, which has each bar of the text, except the four of each spoiler
 */
export function spoilersIn(content: string, nodes: Markdown[]): Range[] {
  const bars = [...content.matchAll(BAR)].map(({ index }) => index);
  const found: Range[] = [];
  let count = 0;
  let unclosed = content.length;
  const visit = (node: Markdown, plain: boolean) => {
    if (typeof node === "string") {
      const at = plain ? node.indexOf(BARS) : -1;
      if (at >= 0) unclosed = Math.min(unclosed, bars[count + barsIn(node.slice(0, at))]);
      count += barsIn(node);
      return;
    }
    const spoiler = node.type === "spoiler";
    const first = count;
    if (spoiler) count += 2;
    for (const child of node.children) visit(child, plain && !["spoiler", "code", "pre"].includes(node.type));
    if (spoiler) found.push([bars[first], bars[(count += 2) - 1] + 1]);
  };
  for (const node of nodes) visit(node, true);
  // The parser drops bars after the opening of a code block.
  if (count !== bars.length) return widestSpoiler(content);
  if (!isCut(content) || unclosed === content.length) return found;
  return [...found.filter(([start]) => start < unclosed), [unclosed, content.length]];
}

/** All from the first two bars to the last ones, or to the end of a text that is cut. */
export function widestSpoiler(content: string): Range[] {
  const [start, end] = [content.indexOf(BARS), content.lastIndexOf(BARS) + BARS.length];
  if (start >= 0 && isCut(content)) return [[start, content.length]];
  return end > start + 2 * BARS.length ? [[start, end]] : [];
}

/** The text with a word in place of each spoiler. */
export function coverRanges(content: string, ranges: Range[], word: string): string {
  let text = "";
  let at = 0;
  for (const [start, end] of ranges) {
    text += content.slice(at, start) + word;
    at = end;
  }
  return text + content.slice(at);
}
