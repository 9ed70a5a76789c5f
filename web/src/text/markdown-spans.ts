// The inline rules of messages: spoilers, links, and emphasis in Korean, Japanese and Chinese text.
import { findLinks } from "./links";
import type { MarkdownIt, StateInline } from "markdown-it";
import type { Link } from "./links";

const BAR = 124;
const MARKERS = /[*_~`|\\]/g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
/** Letters of languages that put no blanks between words, or particles after them. */
const CJK = /[\p{Script=Hangul}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;

export function messageSpans(md: MarkdownIt) {
  const { inline } = md;
  inline.State = inCjk(inline.State);
  inline.ruler.at("text", text);
  inline.ruler.before("emphasis", "spoiler", spoiler);
  inline.ruler2.after("balance_pairs", "spoiler", joinSpoilers);
}

/** In CommonMark, punctuation inside the markers keeps **"word"**는 from ending next to a letter. */
function inCjk(State: typeof StateInline): typeof StateInline {
  return class extends State {
    override scanDelims(start: number, canSplitWord: boolean) {
      const found = super.scanDelims(start, canSplitWord);
      if (!canSplitWord) return found;
      const [before, after] = [this.src[start - 1] ?? " ", this.src[start + found.length] ?? " "];
      if (PUNCTUATION.test(after) && CJK.test(before)) found.can_open = true;
      if (PUNCTUATION.test(before) && CJK.test(after)) found.can_close = true;
      return found;
    }
  };
}

/** The links of a text, from the present position. */
const links = new WeakMap<StateInline, Link[]>();

function nextLink(state: StateInline) {
  const left = links.get(state) ?? findLinks(state.src);
  links.set(state, left);
  while (left.length && left[0].start < state.pos) left.shift();
  return left[0];
}

/** A link, or text up to the next link or marker. */
function text(state: StateInline, silent: boolean) {
  const { pos, posMax, src } = state;
  const link = nextLink(state);
  if (link?.start === pos) {
    if (!silent) {
      state.push("link_open", "a", 1).attrs = [["href", link.href]];
      state.push("text", "", 0).content = src.slice(pos, link.end);
      state.push("link_close", "a", -1);
    }
    state.pos = link.end;
    return true;
  }
  MARKERS.lastIndex = pos;
  const marker = MARKERS.exec(src)?.index ?? posMax;
  const end = Math.min(marker, link?.start ?? posMax);
  if (end === pos) return false;
  if (!silent) state.pending += src.slice(pos, end);
  state.pos = end;
  return true;
}

/** Exactly two bars, with anything around them. */
function spoiler(state: StateInline, silent: boolean) {
  const { src, pos } = state;
  if (silent || src.charCodeAt(pos) !== BAR) return false;
  let end = pos;
  while (src.charCodeAt(end) === BAR) end++;
  state.push("text", "", 0).content = src.slice(pos, end);
  state.pos = end;
  if (end - pos === 2) {
    const token = state.tokens.length - 1;
    state.delimiters.push({ marker: BAR, length: 0, token, end: -1, open: true, close: true });
  }
  return true;
}

function joinSpoilers(state: StateInline) {
  const all = [state.delimiters, ...state.tokens_meta.map((meta) => meta?.delimiters ?? [])];
  for (const delimiters of all) {
    for (const { marker, token, end } of delimiters) {
      if (marker !== BAR || end < 0) continue;
      const [open, close] = [state.tokens[token], state.tokens[delimiters[end].token]];
      Object.assign(open, { type: "spoiler_open", nesting: 1, content: "" });
      Object.assign(close, { type: "spoiler_close", nesting: -1, content: "" });
    }
  }
  return true;
}
