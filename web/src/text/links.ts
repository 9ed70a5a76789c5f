// Finds links in text, and where a person would end them.
import type { Markdown } from "./markdown";

export interface Link {
  start: number;
  end: number;
  href: string;
}

const START = /https?:\/\/|www\.|@/gi;
/** The longest local part of a mail address. */
const MAX_LOCAL = 64;
const LOCAL = /[\w.+-]/;
const DOMAIN = /[a-z\d-]+(?:\.[a-z\d-]+)*\.[a-z]{2,}/iy;
const WWW = /^www\.[^./]+\.[^./]/i;

/** Ends a link: blanks, quotes, and the brackets and punctuation of Chinese, Japanese and Korean text. */
const STOP = /[\s\p{Cc}<>"`“”‘’「」『』《》〈〉【】〔〕（），。、！？；：…]/u;
const TRAILING = /[.,!?;:'*~|]/;
const BRACKETS = new Map([
  [")", "("],
  ["]", "["],
  ["}", "{"],
]);
/** After these, a letter of another script is of the sentence. */
const WORD_END = /[a-z\d)\]}]/i;
const HANGUL = /[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]/;
/** Kana and ideographs. */
const IDEOGRAPH = /[\u3040-\u30ff\u3400-\u9fff]/;
/** A Korean particle or ending, up to the end of the word. */
const PARTICLE =
  /(?:은|는|이|가|을|를|에|의|와|과|도|로|만|랑|나|요|께|에서|에게|에는|에도|에서는|으로|로는|부터|까지|처럼|보다|하고|이랑|이나|라고|이라고|라는|이라는|입니다|이에요|예요|이고|인데)(?![\u1100-\u11ff\u3130-\u318f\uac00-\ud7af])/y;

/** @returns in the order of the text, without overlaps */
export function findLinks(text: string): Link[] {
  const links: Link[] = [];
  let after = 0;
  for (const { 0: found, index } of text.matchAll(START)) {
    if (index < after) continue;
    // Not in the middle of a word, such as "xhttp://".
    if (found !== "@" && index > 0 && /[\w@]/.test(text[index - 1])) continue;
    const end = found === "@" ? index : endOf(text, index + found.length, index);
    const link = found === "@" ? mail(text, index, after) : address(text, index, end, found);
    if (link) links.push(link);
    // Nothing is read twice.
    after = Math.max(after, link?.end ?? end);
  }
  return links;
}

/** The text and its links. */
export function withLinks(content: string): Markdown[] {
  const parts: Markdown[] = [];
  let from = 0;
  for (const { start, end, href } of findLinks(content)) {
    parts.push(content.slice(from, start), { type: "link", href, children: [content.slice(start, end)] });
    from = end;
  }
  parts.push(content.slice(from));
  return parts.filter((part) => part !== "");
}

function address(text: string, start: number, end: number, scheme: string): Link | null {
  const shown = text.slice(start, end);
  const www = /^www/i.test(scheme);
  if (www && !WWW.test(shown)) return null;
  const href = www ? `https://${shown}` : shown;
  return end > start + scheme.length && URL.canParse(href) ? { start, end, href } : null;
}

function mail(text: string, at: number, after: number): Link | null {
  let start = at;
  while (start > after && at - start < MAX_LOCAL && LOCAL.test(text[start - 1])) start--;
  while (start < at && /[.+-]/.test(text[start])) start++;
  DOMAIN.lastIndex = at + 1;
  const domain = DOMAIN.exec(text)?.[0];
  if (start === at || !domain) return null;
  const end = at + 1 + domain.length;
  return { start, end, href: `mailto:${text.slice(start, end)}` };
}

function endOf(text: string, from: number, start: number) {
  const open: string[] = [];
  let inPath = false;
  let end = from;
  for (; end < text.length; end++) {
    const character = text[end];
    if (STOP.test(character) || ("*~|".includes(character) && text[end + 1] === character)) break;
    if (character === "/") inPath = true;
    // The word goes on after a link in Latin letters. A part of a path may begin with any letter.
    if (character > "\u1100" && WORD_END.test(text[end - 1])) {
      if (IDEOGRAPH.test(character)) break;
      if (HANGUL.test(character) && (!inPath || matchesAt(PARTICLE, text, end))) break;
    }
    if ("([{".includes(character)) open.push(character);
    const opening = BRACKETS.get(character);
    if (opening && open.pop() !== opening) break;
  }
  while (end > start && TRAILING.test(text[end - 1])) end--;
  return end;
}

function matchesAt(pattern: RegExp, text: string, at: number) {
  pattern.lastIndex = at;
  return pattern.test(text);
}
