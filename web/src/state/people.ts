// All users.
import { computed, signal } from "@preact/signals";
import * as api from "../api";
import { coalesce } from "../backoff";
import { me } from "../session";
import { retry } from "./retry";
import type { Role, User } from "../types";

/** Minimum interval between two reads of the list: presence changes cause many events. */
const SPACING_MS = 500;
const RANKS: Role[] = ["USER", "CHANNEL_MANAGER", "ADMIN"];

/** By id; null until first loaded. */
export const people = signal<Map<string, User> | null>(null);

/** The signed-in user as in the list; the token is older. */
export const self = computed(() => people.value?.get(me.value?.id ?? "") ?? me.value);

/** By name. Presence may be unknown. */
export const membersByPresence = computed(() => {
  const byName = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
  const all = [...(people.value?.values() ?? [])].sort((a, b) => byName.compare(a.username, b.username));
  return {
    online: all.filter((user) => user.online === true),
    offline: all.filter((user) => user.online === false),
    unknown: all.filter((user) => user.online === null),
  };
});

/** Resolves to the position in the event stream at which the list was read. */
export const refreshPeople = coalesce(async () => {
  const { items, cursor } = await retry(api.users);
  if (me.peek()) people.value = new Map(items.map((user) => [user.id, unchanged(user)]));
  return cursor;
}, SPACING_MS);

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

export function clearPeople() {
  people.value = null;
}
