// All users.
import { computed, signal } from "@preact/signals";
import * as api from "../api";
import { coalesce } from "../coalesce";
import { me } from "../session";
import { retry } from "./retry";
import { toastError } from "./toasts";
import type { Role, User } from "../types";

/** Minimum interval between two reads of the list: presence changes cause many events. */
const SPACING_MS = 500;
const RANKS: Role[] = ["USER", "CHANNEL_MANAGER", "ADMIN"];

/** By id; null until first loaded. */
export const people = signal<Map<string, User> | null>(null);

/** The signed-in user as in the list; the token is older. */
export const self = computed(() => people.value?.get(me.value?.id ?? "") ?? me.value);

/** Of accounts that were deleted since the page was opened. A user who is only missing in the list may be new. */
const deletedIds = signal<Set<string>>(new Set());

export const peopleByName = computed(() => {
  const byName = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
  return [...(people.value?.values() ?? [])].sort((a, b) => byName.compare(a.username, b.username));
});

/** By name. Presence may be unknown. */
export const membersByPresence = computed(() => {
  const all = peopleByName.value;
  return {
    online: all.filter((user) => user.online === true),
    offline: all.filter((user) => user.online === false),
    unknown: all.filter((user) => user.online === null),
  };
});

/** A read of the whole list; it is older than events that arrive meanwhile. */
let reading: Promise<unknown> = Promise.resolve();

/** Resolves to the position in the event stream at which the list was read. */
export const refreshPeople = coalesce(() => {
  const read = readAll();
  reading = read.catch(() => {});
  return read;
}, SPACING_MS);

async function readAll() {
  const { items, cursor } = await retry(api.users);
  if (me.peek()) people.value = new Map(items.map((user) => [user.id, unchanged(user)]));
  return cursor;
}

// ---- after events ----------------------------------------------------------------------------------------------------

/** The limit of the server. */
const MAX_IDS = 100;
/** Pause between two reads of users whom no event has named. */
const SWEEP_MS = 5_000;

/** Whom events have named. */
const named: Set<string> = new Set();
/** Whom to read after them. */
let rest: string[] = [];
/** An event has come since `rest` began. */
let changed = false;
let sweeping: ReturnType<typeof setTimeout> | undefined;

/**
 * Reads a user again after an event. The server merges the comings and goings of one second into an event that names one
 * of their users, so the others are read too, at a rate that does not depend on their number.
 */
export function refreshPerson(userId: string) {
  named.add(userId);
  changed = true;
  void readNamed().catch(toastError);
  sweep();
}

const readNamed = coalesce(async () => {
  await reading;
  const ids = [...named].slice(0, MAX_IDS);
  for (const id of ids) named.delete(id);
  if (ids.length) await readUsers(ids);
  if (named.size) void readNamed().catch(toastError);
}, SPACING_MS);

function sweep() {
  sweeping ??= setTimeout(async () => {
    if (!rest.length && changed) {
      changed = false;
      rest = [...(people.peek()?.keys() ?? [])];
    }
    // A failure shows with the next event.
    await readUsers(rest.splice(0, MAX_IDS)).catch(() => {});
    sweeping = undefined;
    if (me.peek() && (rest.length || changed)) sweep();
  }, SWEEP_MS);
}

async function readUsers(ids: string[]) {
  const caller = me.peek()?.id;
  const found = ids.length ? await retry(() => api.usersWithIds(ids)) : [];
  if (!people.peek() || me.peek()?.id !== caller) return;
  const next = new Map(people.peek());
  const left = new Set(ids);
  for (const user of found) {
    next.set(user.id, unchanged(user));
    left.delete(user.id);
  }
  for (const id of left) next.delete(id);
  if (left.size) deletedIds.value = new Set([...deletedIds.peek(), ...left]);
  if (left.size || found.some((user) => next.get(user.id) !== people.peek()?.get(user.id))) people.value = next;
}

/** Adds or replaces a user before the next read of the list. */
export function putPerson(user: User) {
  const held = people.peek()?.get(user.id);
  people.value = new Map(people.peek()).set(user.id, { ...user, online: user.online ?? held?.online ?? null });
}

/** Returns the held object when it is equal, so that components need not render again. */
function unchanged(user: User) {
  const held = people.peek()?.get(user.id);
  return held && JSON.stringify(held) === JSON.stringify(user) ? held : user;
}

export const hasRole = (role: Role) => RANKS.indexOf(self.value?.role ?? "USER") >= RANKS.indexOf(role);

export function dropPerson(id: string) {
  const next = new Map(people.peek());
  if (next.delete(id)) people.value = next;
  deletedIds.value = new Set(deletedIds.peek()).add(id);
}

/** The author of a message as known now; null when the account was deleted, also after the message was read. */
export const authorOf = (author: User | null) =>
  author && !deletedIds.value.has(author.id) ? (people.value?.get(author.id) ?? author) : null;

export function clearPeople() {
  people.value = null;
  deletedIds.value = new Set();
  named.clear();
  rest = [];
  changed = false;
  clearTimeout(sweeping);
  sweeping = undefined;
}
