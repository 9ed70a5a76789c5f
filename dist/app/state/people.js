// Everybody who has an account here.
import * as api from "../api.js";
import { coalesce } from "../backoff.js";
import { me } from "../session.js";
import { computed, signal } from "../ui.js";
import { retry } from "./retry.js";

/** @typedef {import("../types.js").User} User */
/** @typedef {import("../types.js").Role} Role */

/** Between two readings of the list: everybody coming and going makes many events. */
const SPACING_MS = 500;
/** @type {Role[]} */
const RANKS = ["USER", "CHANNEL_MANAGER", "ADMIN"];

/** By id; null until first loaded. */
export const people = signal(/** @type {Map<string, User> | null} */ (null));

/** The signed-in user as the server sees them now; a token only knows how it was when it was made. */
export const self = computed(() => people.value?.get(me.value?.id ?? "") ?? me.value);

/** By name. Whether somebody is present may be unknown. */
export const membersByPresence = computed(() => {
  const byName = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
  const all = [...(people.value?.values() ?? [])].sort((a, b) => byName.compare(a.username, b.username));
  return {
    online: all.filter((user) => user.online === true),
    offline: all.filter((user) => user.online === false),
    unknown: all.filter((user) => user.online === null),
  };
});

/** Resolves to the place in the event stream that the list was read at. */
export const refreshPeople = coalesce(async () => {
  const { items, cursor } = await retry(api.users);
  if (me.peek()) people.value = new Map(items.map((user) => [user.id, unchanged(user)]));
  return cursor;
}, SPACING_MS);

/** Shows somebody as we were just told, before the list is read again. @param {User} user */
export function putPerson(user) {
  const held = people.peek()?.get(user.id);
  people.value = new Map(people.peek()).set(user.id, { ...user, online: user.online ?? held?.online ?? null });
}

/** The object already held when it says the same, so that what shows it need not be drawn again. @param {User} user */
function unchanged(user) {
  const held = people.peek()?.get(user.id);
  return held && JSON.stringify(held) === JSON.stringify(user) ? held : user;
}

/** @param {Role} role */
export const hasRole = (role) => RANKS.indexOf(self.value?.role ?? "USER") >= RANKS.indexOf(role);

export function forgetPeople() {
  people.value = null;
}
