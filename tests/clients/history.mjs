// The history of events in Redis, and what must hold between it and what a client has received.
import assert from "node:assert/strict";

/**
 * @typedef {{name: string, id: string, data: string}} Event
 * @typedef {{epoch: number, n: number}} Position
 */

/** What the stream says of itself: no events of the history. */
const OWN = new Set(["sync", "resync"]);
const STREAM = "return cjson.encode(redis.call('XRANGE', KEYS[1], '-', '+'))";

/** @param {string} text two numbers to that base @param {number} base @returns {Position} */
function position(text, base) {
  const [epoch, n] = text.split("-").map((number) => parseInt(number, base));
  return { epoch, n };
}

/** An id is a place in the user's own stream, one in everybody's, and whose it is. @param {string} id */
function cursor(id) {
  assert.match(id, /^[0-9a-z]+-[0-9a-z]+\.[0-9a-z]+-[0-9a-z]+\.[0-9a-z]+$/);
  const [user, all] = id.split(".", 2).map((part) => position(part, 36));
  return { user, all };
}

/** @param {Position} a @param {Position} b */
const isAfter = (a, b) => a.epoch > b.epoch || (a.epoch === b.epoch && a.n > b.n);

/**
 * The entries of a stream, as texts that name all of an event.
 *
 * @param {import("./stage.mjs").Stage} stage
 * @param {string} key
 * @param {Position} from
 * @param {Position} through
 */
async function stored(stage, key, from, through) {
  // An empty one comes as an object.
  /** @type {[string, string[]][]} */
  const entries = Object.values(await stage.redis(STREAM, key));
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
 * Every event has an id, no id goes back, and behind the first one the events are those that Redis keeps: all, once, in
 * order, with the same name and data.
 *
 * @param {import("./stage.mjs").Stage} stage
 * @param {string} user an id
 * @param {Event[]} events behind the first, a `sync` or `resync`
 */
export async function isComplete(stage, user, events) {
  const begin = cursor(events[0].id);
  let at = begin;
  /** @type {Record<"user" | "all", string[]>} */
  const seen = { user: [], all: [] };
  for (const { name, id, data } of events.slice(1)) {
    const here = cursor(id);
    const moved = /** @type {const} */ (["user", "all"]).filter((part) => isAfter(here[part], at[part]));
    assert.ok(!isAfter(at.user, here.user) && !isAfter(at.all, here.all), `${id} goes back`);
    if (OWN.has(name)) {
      // If it passes over an event, that shows below.
      assert.equal(name, "sync", `an unexpected ${name} ${data}`);
    } else {
      assert.equal(moved.length, 1, `${id} of ${name} moves by one event`);
      seen[moved[0]].push(`${here[moved[0]].epoch}-${here[moved[0]].n} ${name} ${data}`);
    }
    at = here;
  }
  assert.deepEqual(seen.all, await stored(stage, "sse:all", begin.all, at.all));
  assert.deepEqual(seen.user, await stored(stage, `sse:user:${user}`, begin.user, at.user));
}
