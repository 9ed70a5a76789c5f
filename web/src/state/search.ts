// Search in messages.
import { effect, signal } from "@preact/signals";
import * as api from "../api";
import { t } from "../i18n";
import { messageOf } from "../i18n/errors";
import { me } from "../session";
import { people } from "./people";
import type { Found, SearchFilter } from "../types";

/** As the user writes it. */
export interface SearchForm {
  text: string;
  /** Null for all channels. */
  channelId: string | null;
  author: string;
  /** Days as in "2026-01-31", both included. */
  from: string;
  to: string;
  has: "" | "file" | "link";
}

export interface Results {
  filter: SearchFilter;
  items: Found[];
  /** Of the next page; null on the last one. */
  next: string | null;
  loading: boolean;
  error: string | null;
}

const EMPTY: SearchForm = { text: "", channelId: null, author: "", from: "", to: "", has: "" };

/** Stays while the panel is closed. */
export const searchForm = signal<SearchForm>(EMPTY);
/** Null before the first search. */
export const results = signal<Results | null>(null);

export function changeSearch(changes: Partial<SearchForm>) {
  searchForm.value = { ...searchForm.peek(), ...changes };
}

effect(() => {
  if (me.value) return;
  searchForm.value = EMPTY;
  results.value = null;
});

/** The start of a local day, as an instant. */
function startOf(day: string, later = 0) {
  const date = new Date(`${day}T00:00`);
  date.setDate(date.getDate() + later);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

/** @returns a sentence when nobody has the name of the author */
export function filterOf({ text, channelId, author, from, to, has }: SearchForm): SearchFilter | string {
  const name = author.trim().normalize("NFC").toLowerCase();
  const user = name && [...(people.peek()?.values() ?? [])].find((each) => each.username.toLowerCase() === name);
  if (name && !user) return t("Nobody here has this name.");
  const filter: SearchFilter = { q: text.trim(), has };
  if (channelId) filter.channelId = channelId;
  if (user) filter.authorId = user.id;
  if (from) filter.after = startOf(from);
  if (to) filter.before = startOf(to, 1);
  if (!filter.q && !filter.authorId && !has) return t("Enter a text, a name, or choose files or links.");
  return filter;
}

export async function search() {
  const filter = filterOf(searchForm.peek());
  if (typeof filter === "string") {
    results.value = { filter: {}, items: [], next: null, loading: false, error: filter };
    return;
  }
  results.value = { filter, items: [], next: null, loading: true, error: null };
  await read(results.peek() as Results);
}

export async function searchMore() {
  const held = results.peek();
  if (!held?.next || held.loading) return;
  results.value = { ...held, loading: true, error: null };
  await read(results.peek() as Results);
}

async function read(asked: Results) {
  const userId = me.peek()?.id;
  const isCurrent = () => results.peek() === asked && me.peek()?.id === userId;
  try {
    const { content, nextCursor } = await api.search(asked.filter, asked.next);
    if (isCurrent())
      results.value = { ...asked, items: [...asked.items, ...content], next: nextCursor, loading: false };
  } catch (error) {
    if (isCurrent()) results.value = { ...asked, loading: false, error: messageOf(error as Error) };
  }
}
