// The language of the app. The English sentences are the keys; the Korean ones are a chunk of their own (ko.ts).
import { computed, effect, signal } from "@preact/signals";
import { stored } from "../storage";
import type { ComponentChild } from "preact";
import type { Catalogue, Sentence } from "./ko";

export type { Sentence };
export type Language = "en" | "ko";

/** The names of the values in a sentence. */
type Names<S extends string> = S extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never;
/** The sentences without values. */
export type PlainSentence = { [S in Sentence]: [Names<S>] extends [never] ? S : never }[Sentence];
type Values<S extends string, Value> = [Names<S>] extends [never] ? [] : [values: Record<Names<S>, Value>];

const KEY = "discodeit.language";

/** In their own words. */
export const LANGUAGES: Record<Language, string> = { en: "English", ko: "한국어" };

/** Null in English. */
export const catalogue = signal<Catalogue | null>(null);
export const language = computed<Language>(() => (catalogue.value ? "ko" : "en"));

/** For Intl: the browser's variant of the language. */
export const locale = computed(
  () =>
    navigator.languages.find((each) => each.startsWith(language.value)) ?? { en: "en-GB", ko: "ko-KR" }[language.value],
);

const isLanguage = (value: string | null): value is Language => value === "en" || value === "ko";

function preferred(): Language {
  const chosen = stored.get(KEY);
  if (isLanguage(chosen)) return chosen;
  return navigator.languages.map((each) => each.slice(0, 2)).find(isLanguage) ?? "en";
}

async function load(wanted: Language) {
  const loaded = wanted === "ko" ? (await import("./ko")).default : null;
  // Another choice may have been made meanwhile.
  if (preferred() === wanted) catalogue.value = loaded;
}

/** Loads the language before the first view, so that no other one appears. English is shown when it cannot be loaded. */
export const loadLanguage = () =>
  load(preferred()).catch((error) => console.warn("loading the language failed:", error));

/** Keeps the choice in this browser, and follows it in its other tabs. */
export function chooseLanguage(chosen: Language): Promise<void> {
  stored.set(KEY, chosen);
  return load(chosen);
}

addEventListener("storage", ({ key }) => key === KEY && void loadLanguage());

effect(() => {
  document.documentElement.lang = language.value;
});

const template = (sentence: Sentence) => catalogue.value?.sentences[sentence] ?? sentence;

const VALUE = /\{(\w{1,20})\}/;
const VALUES = /\{(\w{1,20})\}/g;

/** A sentence in the chosen language. `{name}` stands for a value. */
export function t<S extends Sentence>(sentence: S, ...[values]: Values<S, string | number>): string {
  return template(sentence).replace(VALUES, (whole, name: string) => {
    const value = (values as Record<string, string | number> | undefined)?.[name];
    return typeof value === "number" ? number(value) : (value ?? whole);
  });
}

const plurals = computed(() => new Intl.PluralRules(locale.value));

/** The sentence for a count, which is `{count}` in it. */
export function plural(count: number, one: Sentence, other: Sentence): string {
  const sentence = plurals.value.select(count) === "one" ? one : other;
  return t(sentence as "{count} chosen", { count });
}

/** A sentence with elements in it. */
export function elements<S extends Sentence>(sentence: S, values: Record<Names<S>, ComponentChild>): ComponentChild[] {
  return template(sentence)
    .split(VALUE)
    .map((part, at) => (at % 2 ? values[part as Names<S>] : part));
}

const numbers = computed(() => new Intl.NumberFormat(locale.value));
const lists = computed(() => new Intl.ListFormat(locale.value));

export const number = (value: number) => numbers.value.format(value);

export const list = (names: string[]) => lists.value.format(names);
