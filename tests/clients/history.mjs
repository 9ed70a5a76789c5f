// The SSE history in Redis, and the check that a client received exactly that history.
import assert from "node:assert/strict";

/**
 * @typedef {{name: string, id: string, data: string}} Event
 * @typedef {{epoch: number, n: number}} Position
 */

/** Events of the stream itself, which are not in the history. */
const CONTROL_EVENTS = new Set(["sync", "resync"]);
const READ_STREAM = "return cjson.encode(redis.call('XRANGE', KEYS[1], '-', '+'))";

/** @param {string} text two numbers in this base @param {number} base @returns {Position} */
function position(text, base) {
  const [epoch, n] = text.split("-").map((number) => parseInt(number, base));
  return { epoch, n };
}

/** Parses an event id: positions in the user's stream and the stream for all, and the owner's tag. @param {string} id */
export function cursor(id) {
  assert.match(id, /^[0-9a-z]+-[0-9a-z]+\.[0-9a-z]+-[0-9a-z]+\.[0-9a-z]+$/);
  const [user, all] = id.split(".", 2).map((part) => position(part, 36));
  return { user, all };
}

/** @param {Position} a @param {Position} b */
export const isAfter = (a, b) => a.epoch > b.epoch || (a.epoch === b.epoch && a.n > b.n);

/**
 * The entries of a stream, each as one line with position, name and data.
 *
 * @param {import("./system.mjs").System} system
 * @param {string} key
 * @param {Position} from
 * @param {Position} through
 */
async function readHistory(system, key, from, through) {
  // cjson encodes an empty array as an object.
  /** @type {[string, string[]][]} */
  const entries = Object.values(await system.redis(READ_STREAM, key));
  return entries
    .map(([at, fields]) => {
      /** @type {Record<string, string>} */
      const entry = {};
      for (let index = 0; index < fields.length; index += 2) entry[fields[index]] = fields[index + 1];
      return { at: position(at, 10), entry };
    })
    .filter(({ at }) => isAfter(at, from) && !isAfter(at, through))
    .map(({ at, entry }) => `${at.epoch}-${at.n} ${entry.name} ${entry.data}`);
}

/**
 * Asserts that every event has an id, that no id goes back, and that the events after the first one equal those in Redis:
 * all, once, in order, with the same name and data.
 *
 * @param {import("./system.mjs").System} system
 * @param {string} user an id
 * @param {Event[]} events the first is a `sync` or `resync`
 */
export async function assertComplete(system, user, events) {
  const begin = cursor(events[0].id);
  let last = begin;
  /** @type {Record<"user" | "all", string[]>} */
  const seen = { user: [], all: [] };
  for (const { name, id, data } of events.slice(1)) {
    const here = cursor(id);
    const moved = /** @type {const} */ (["user", "all"]).filter((part) => isAfter(here[part], last[part]));
    assert.ok(!isAfter(last.user, here.user) && !isAfter(last.all, here.all), `${id} goes back`);
    if (CONTROL_EVENTS.has(name)) {
      // The comparison below finds an event that its id skips.
      assert.equal(name, "sync", `unexpected ${name} ${data}`);
    } else {
      assert.equal(moved.length, 1, `${id} of ${name} does not advance one position`);
      seen[moved[0]].push(`${here[moved[0]].epoch}-${here[moved[0]].n} ${name} ${data}`);
    }
    last = here;
  }
  assert.deepEqual(seen.all, await readHistory(system, "sse:all", begin.all, last.all));
  assert.deepEqual(seen.user, await readHistory(system, `sse:user:${user}`, begin.user, last.user));
}
