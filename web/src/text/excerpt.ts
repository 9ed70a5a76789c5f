// The part of a found text that is shown, with the words of the search marked.

export interface Part {
  text: string;
  marked: boolean;
}

/** Code points before the first mark, and in all. */
const BEFORE = 60;
const MAX_LENGTH = 240;

/** @param marks from and to, in code points, in order */
export function excerptOf(content: string, marks: [number, number][]): Part[] {
  const letters = [...content];
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
