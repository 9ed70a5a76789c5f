// Nodes that leave in order, and a Redis that has forgotten.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as pass } from "node:timers/promises";
import { heardAll } from "../conversation.mjs";
import { Listener } from "../listener.mjs";
import { WAYS, talker } from "../sockets.mjs";

/** Forgets all but who is signed in, who would be refused from then on, and what other tests count with. */
const FORGET = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  if not (key:find('^session') or key == 'databases') then redis.call('DEL', key) end
end
return '{}'`;

/** Each library, at both nodes. @param {import("../stage.mjs").Stage} stage @param {import("../stage.mjs").Api} person */
async function everywhere(stage, person) {
  const listeners = [];
  for (const side of [0, 1]) {
    listeners.push(await Listener.open(stage, "polyfill", side, person));
    listeners.push(await Listener.open(stage, "eventsource", side, person));
    listeners.push(...(await Listener.openTabs(stage, side, person, 1)));
  }
  for (const listener of listeners) await listener.synced();
  return listeners;
}

/** @type {import("../run.mjs").Scenario[]} */
export const recovery = [
  [
    `While one node after the other is restarted, stompjs comes back over ${WAYS.length} ways and has every message once`,
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("rolling")]);
      const lines = await Promise.all([stage.line(0), stage.line(1)]);
      const hearers = lines.flatMap(({ url }) => WAYS.map((way) => stage.keep(talker(way, url, ann, channel, 200))));
      await Promise.all(hearers.map((one) => one.open()));
      /** @type {string[]} */
      const said = [];
      let over = false;
      const load = (async () => {
        while (!over) {
          const text = `No. ${said.length}`;
          const id = randomUUID();
          // Of a node that leaves an answer may be lost: then it is said again under the same id.
          while (!(await stage.admin.post(channel, text, id).catch(() => pass(50)))) continue;
          said.push(text);
          // So that nobody is away for more than the 500 that a subscription brings.
          await pass(20);
        }
      })();
      await Promise.all(hearers.map((one) => one.hears(1)));
      for (const { node } of stage.sources) {
        await stage.end(node, "SIGTERM");
        await stage.startNodes();
      }
      over = true;
      await load;
      await Promise.all(hearers.map((one) => one.hears(said.length)));
      for (const one of hearers) {
        heardAll(one, said);
        assert.ok(one.subscribed > 1);
      }
    },
  ],
  [
    "While one node after the other is restarted under load, every stream comes back by itself and has every event once",
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("rolling")]);
      const listeners = await everywhere(stage, ann);
      let count = 0;
      let over = false;
      const load = (async () => {
        while (!over) {
          // Whatever an answer that was lost had done, the events are as many as the history says.
          const changed = stage.admin.describeChannel(channel, `No. ${count + 1}`);
          await changed.then(() => count++, () => {});
          await pass(20);
        }
      })();
      for (const { node } of stage.sources) {
        await stage.end(node, "SIGTERM");
        await stage.startNodes();
      }
      over = true;
      await load;
      await stage.admin.describeChannel(channel, "The last.");
      for (const listener of listeners) await listener.hasAtLeast(channel, count + 1);
      for (const listener of listeners) {
        await listener.resumedByItself();
        assert.equal((await listener.read()).readyState, 1);
        listener.wasNeverRefused();
      }
    },
  ],
  [
    "A Redis that has lost its history is told to every open stream by a resync, without an end, and events go on",
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("forgotten")]);
      const listeners = await everywhere(stage, ann);
      await stage.admin.describeChannel(channel, "Before.");
      for (const listener of listeners) await listener.hasAll(channel, 1);
      await stage.redis(FORGET);
      const isResync = (/** @type {{name: string}} */ { name }) => name === "resync";
      for (const listener of listeners) {
        await listener.until("resync", ({ events }) => events.some(isResync));
      }
      await stage.admin.describeChannel(channel, "Afterwards.");
      for (const listener of listeners) {
        const { events, opened, errors } = await listener.hasAll(channel, 1);
        assert.equal(events.filter(isResync).length, 1);
        assert.deepEqual({ opened, errors }, { opened: 1, errors: 0 });
      }
    },
  ],
];
