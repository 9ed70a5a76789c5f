// The part of a found text that is shown, with the words of the search marked.
import type { Range } from "./spoilers";

export interface Part {
  text: string;
  marked: boolean;
}

/** Code points before the first mark, and in all. */
const BEFORE = 60;
const MAX_LENGTH = 240;

/**
 * @param found from and to, in code points, in order
 * @param spoilers each is shown as the word, which is marked if something in the spoiler is
 */
export function excerptOf(content: string, found: [number, number][], spoilers: Range[] = [], word = ""): Part[] {
  const { letters, letterAt } = lettersOf(content, spoilers, word);
  const marks = found.map(([start, end]) => [letterAt(start), letterAt(end - 1) + 1]);
  const from = letters.length <= MAX_LENGTH ? 0 : Math.max(0, (marks[0]?.[0] ?? 0) - BEFORE);
  const to = Math.min(letters.length, from + MAX_LENGTH);
  const parts: Part[] = [];
  const add = (start: number, end: number, marked: boolean) => {
    const text = letters.slice(start, end).join("");
    if (text) parts.push({ text, marked });
  };
  if (from > 0) parts.push({ text: "…", marked: false });
  let at = from;
  for (const [start, end] of marks) {
    if (start >= to || end <= at) continue;
    add(at, Math.max(at, start), false);
    add(Math.max(at, start), Math.min(end, to), true);
    at = Math.min(end, to);
  }
  add(at, to, false);
  if (to < letters.length) parts.push({ text: "…", marked: false });
  return parts;
}

/** The code points of a text, with each spoiler as one letter, and the letter of each code point. */
function lettersOf(content: string, spoilers: Range[], word: string) {
  const letters: string[] = [];
  const places: number[] = [];
  let [at, next] = [0, 0];
  for (const letter of content) {
    while (next < spoilers.length && at >= spoilers[next][1]) next++;
    const start = spoilers[next]?.[0] ?? Infinity;
    if (at <= start) letters.push(at === start ? word : letter);
    places.push(letters.length - 1);
    at += letter.length;
  }
  return { letters, letterAt: (place: number) => places[place] ?? letters.length + place - places.length };
}
