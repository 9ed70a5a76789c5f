// Parses the Markdown of a message to a tree: quotes, lists, code, bold, italic, ~~strike~~, ||spoilers|| and links. All else,
// such as headings, pictures, named links and HTML, stays text. Each character of the message stays, except the markers.
import MarkdownIt from "markdown-it";
import { withLinks } from "./links";
import { messageBlocks } from "./markdown-blocks";
import { messageSpans } from "./markdown-spans";
import type { Token } from "markdown-it";

export type Markdown = string | Element;

export interface Element {
  type: "strong" | "em" | "s" | "spoiler" | "code" | "link" | "quote" | "list" | "item" | "pre";
  children: Markdown[];
  /** Of a list. */
  ordered?: boolean;
  /** Of a link. */
  href?: string;
  /** Of a pre. */
  language?: string;
}

/** Elements inside this many others are left out, with their text kept. */
const MAX_DEPTH = 20;

const ELEMENTS: Record<string, Pick<Element, "type" | "ordered">> = {
  blockquote_open: { type: "quote" },
  bullet_list_open: { type: "list" },
  ordered_list_open: { type: "list", ordered: true },
  list_item_open: { type: "item" },
  strong_open: { type: "strong" },
  em_open: { type: "em" },
  s_open: { type: "s" },
  spoiler_open: { type: "spoiler" },
  link_open: { type: "link" },
};

const md = new MarkdownIt("zero").enable([
  "blockquote",
  "list",
  "fence",
  "escape",
  "backticks",
  "emphasis",
  "strikethrough",
]);
md.use(messageBlocks).use(messageSpans);

/** Text with more markers than this, outside of code, or more fences, is a drawing or an attack. */
const MAX_MARKERS = 200;
const MAX_FENCES = 40;
const FENCE = /```/g;
const FENCED = /```[^`]*```/g;
const MARKERS = /[*_~`|\\]|^ *(?:[->]|1[.)])/gm;

export function parseMarkdown(content: string): Markdown[] {
  const count = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;
  if (count(content, FENCE) > MAX_FENCES) return withLinks(content);
  if (count(content.replace(FENCED, ""), MARKERS) > MAX_MARKERS) return withLinks(content);
  return new Builder(content.split("\n")).build(md.parse(content, {}));
}

interface Frame {
  children: Markdown[];
  /** The line after the last block, and whether that was text. */
  end: number;
  last: "text" | "block" | null;
}

class Builder {
  private readonly root: Markdown[] = [];
  private readonly frames: Frame[] = [{ children: this.root, end: 0, last: null }];

  constructor(private readonly lines: string[]) {}

  build(tokens: Token[]): Markdown[] {
    for (const token of tokens) this.#block(token);
    return this.root;
  }

  get #top() {
    return this.frames[this.frames.length - 1];
  }

  #block(token: Token) {
    const { type, nesting, map } = token;
    if (nesting < 0) return this.#close();
    if (type !== "list_item_open") this.#separate(map ?? [0, 0], type === "inline" ? "text" : "block");
    if (nesting > 0) this.#open(ELEMENTS[type]);
    else if (type === "fence") this.#fence(token, map ?? [0, 0]);
    else if (type === "inline") for (const each of token.children ?? []) this.#span(each);
  }

  #span({ type, nesting, content, attrs }: Token) {
    if (nesting < 0) this.#close();
    else if (nesting > 0) this.#open({ ...ELEMENTS[type], ...(attrs && { href: String(attrs[0][1]) }) });
    else if (type === "code_inline") this.#top.children.push({ type: "code", children: [content] });
    // A backslash before a line break, which is no escape here.
    else if (type === "hardbreak") this.#text("\\\n");
    else this.#text(content);
  }

  /** Keeps the blank lines before a block. The line break next to an element that is a block is not text. */
  #separate([start, end]: [number, number], next: "text" | "block") {
    const frame = this.#top;
    const breaks = start - frame.end + (frame.last === "text" ? 1 : 0);
    if (frame.last) this.#text("\n".repeat(Math.max(0, breaks)));
    frame.last = next;
    frame.end = end;
    // The end of a list can be after the blank lines that follow it.
    while (frame.end > start + 1 && this.lines[frame.end - 1]?.trim() === "") frame.end--;
  }

  #fence({ content, info }: Token, [start, end]: [number, number]) {
    const closed = end > start + 1 && /^[>\s]*`{3,}\s*$/.test(this.lines[end - 1] ?? "");
    const inside = content.replace(/\n$/, "");
    // The last line may end with the closing fence.
    const code = closed || !inside.endsWith("```") ? inside : inside.slice(0, -3);
    const language = /^[\w+#.-]+$/.exec(info.trim())?.[0];
    if (code.trim()) this.#top.children.push({ type: "pre", children: [code], ...(language && { language }) });
    else {
      this.#top.last = "text";
      this.#text(this.lines.slice(start, end).join("\n"));
    }
  }

  #text(text: string) {
    const { children } = this.#top;
    const last = children.length - 1;
    if (typeof children[last] === "string") children[last] += text;
    else if (text) children.push(text);
  }

  #open(element: Omit<Element, "children">) {
    const { children } = this.#top;
    const deep = this.frames.length > MAX_DEPTH;
    const inside: Markdown[] = deep ? children : [];
    if (!deep) children.push({ ...element, children: inside });
    this.frames.push({ children: inside, end: 0, last: null });
  }

  #close() {
    this.frames.pop();
  }
}
