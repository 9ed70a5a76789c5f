// The list of emoji: groups, names and words in English and Korean, and the emoji that were used last.
import { signal } from "@preact/signals";
import { stored } from "../storage";
import list from "./list.json";

export interface Emoji {
  emoji: string;
  english: string;
  korean: string;
  /** Further words to find it by. */
  words: string[];
}

const KEY = "discodeit.recent-emoji";
const MAX_RECENT = 27;
const MAX_FOUND = 90;

export const groups: Emoji[][] = (list as string[][][]).map((group) =>
  group.map(([emoji, english, korean, words]) => ({ emoji, english, korean, words: words ? words.split("|") : [] })),
);

const all = groups.flat();
const byEmoji = new Map(all.map((each) => [each.emoji, each]));

/** Emoji with a name or word that has all words of the query; those with this name first, then those whose name begins with it. */
export function findEmoji(query: string): Emoji[] {
  const wanted = query.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return [];
  const phrase = wanted.join(" ");
  return all
    .map((each) => ({ each, rank: rank(each, phrase, wanted) }))
    .filter(({ rank: place }) => place < NOT_FOUND)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, MAX_FOUND)
    .map(({ each }) => each);
}

const NOT_FOUND = 4;

function rank({ emoji, english, korean, words }: Emoji, phrase: string, wanted: string[]) {
  const names = [english.toLowerCase(), korean];
  if (emoji === phrase || names.includes(phrase)) return 0;
  if (names.some((name) => name.startsWith(phrase)) || words.includes(phrase)) return 1;
  if (words.some((word) => word.startsWith(phrase)) || names.some((name) => name.includes(` ${phrase}`))) return 2;
  const every = [...names, ...words].join(" ");
  return wanted.every((word) => every.includes(word)) ? 3 : NOT_FOUND;
}

/** Newest first. */
export const recent = signal<Emoji[]>(readRecent());

function readRecent(): Emoji[] {
  return (stored.get(KEY) ?? "").split(" ").flatMap((emoji) => byEmoji.get(emoji) ?? []);
}

export function rememberEmoji(emoji: string) {
  const known = byEmoji.get(emoji);
  // Another tab may have used one meanwhile.
  const others = readRecent().filter((each) => each.emoji !== emoji);
  recent.value = [...(known ? [known] : []), ...others].slice(0, MAX_RECENT);
  stored.set(KEY, recent.value.map((each) => each.emoji).join(" "));
}
