// The parser of messages, loaded with the first message that has markers: text with links alone does without.
import { signal } from "@preact/signals";
import { backoff, pauseOrOnline } from "discodeit-client";
import { t } from "../i18n";
import { withLinks } from "../text/links";
import { coverRanges, spoilersIn, widestSpoiler } from "../text/spoilers";
import type { Markdown } from "../text/markdown";
import type { Range } from "../text/spoilers";

type Parser = (content: string) => Markdown[];

/** Text without any of these is the same with the parser and without. */
const MARKERS = /[*_~`|\\]|^[ \t]*(?:[->]|1[.)])/m;

export const hasMarkers = (content: string) => MARKERS.test(content);

/** Null until it is loaded. */
const loaded = signal<Parser | null>(null);
let loading: Promise<void> | null = null;

/** A parser for a text: until the one of Markdown is loaded, one that knows links, and covers what may be a spoiler. */
export function parserFor(content: string): Parser {
  if (!hasMarkers(content)) return withLinks;
  void loadParser();
  return loaded.value ?? withCover;
}

/** Covers all from the first two bars to the last ones: only the parser of Markdown knows which of them are markers. */
function withCover(content: string): Markdown[] {
  const [start, end] = [content.indexOf("||") + 2, content.lastIndexOf("||")];
  if (end <= start) return withLinks(content);
  const spoiler: Markdown = { type: "spoiler", children: [content.slice(start, end)] };
  return [...withLinks(content.slice(0, start - 2)), spoiler, ...withLinks(content.slice(end + 2))];
}

/** The spoilers of a text: all between the first and the last, until the parser is loaded. */
export function spoilersOf(content: string): Range[] {
  if (!content.includes("||")) return [];
  void loadParser();
  return loaded.value ? spoilersIn(content, loaded.value(content)) : widestSpoiler(content);
}

export const spoilerWord = () => t("[spoiler]");

/** The text of a message, or an excerpt of it, for a view without elements: each spoiler is a word. */
export const withoutSpoilers = (content: string) => coverRanges(content, spoilersOf(content), spoilerWord());

/** Resolves when these texts have a parser. */
export async function prepareParser(contents: string[]): Promise<void> {
  if (contents.some(hasMarkers)) await loadParser();
}

const loadParser = () => (loading ??= load());

async function load(attempt = 0): Promise<void> {
  try {
    loaded.value = (await import("../text/markdown")).parseMarkdown;
  } catch (error) {
    console.warn("loading the parser of messages failed:", error);
    void pauseOrOnline(backoff(attempt)).then(() => load(attempt + 1));
  }
}
