// Restarts of nodes, and a Redis that loses its data.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { assertReceivedAll } from "../messages.mjs";
import { SseClient } from "../sse-client.mjs";
import { TRANSPORTS, stompClient } from "../transports.mjs";

/** Deletes all keys except sessions, whose users would be rejected, and the counter that other tests use. */
const DELETE_KEYS = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  if not (key:find('^session') or key == 'databases') then redis.call('DEL', key) end
end
return '{}'`;

/** One client per library on each node. @param {import("../system.mjs").System} system @param {import("../system.mjs").Api} person */
async function onEachNode(system, person) {
  const clients = [];
  for (const side of [0, 1]) {
    clients.push(await SseClient.open(system, "polyfill", side, person));
    clients.push(await SseClient.open(system, "eventsource", side, person));
    clients.push(...(await SseClient.openTabs(system, side, person, 1)));
  }
  for (const client of clients) await client.receivesSync();
  return clients;
}

/** @type {import("../run.mjs").Scenario[]} */
export const recovery = [
  [
    `While nodes restart in turn, stompjs reconnects over ${TRANSPORTS.length} transports and receives every message once`,
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("rolling")]);
      const proxies = await Promise.all([system.proxy(0), system.proxy(1)]);
      const receivers = proxies.flatMap(({ url }) =>
        TRANSPORTS.map((transport) => system.keep(stompClient(transport, url, ann, channel, 200))),
      );
      await Promise.all(receivers.map((client) => client.open()));
      /** @type {string[]} */
      const sent = [];
      let done = false;
      const load = (async () => {
        while (!done) {
          const text = `No. ${sent.length}`;
          const id = randomUUID();
          // The answer of a stopping node may be lost; the retry has the same id.
          while (!(await system.admin.post(channel, text, id).catch(() => sleep(50)))) continue;
          sent.push(text);
          // Slow enough that no client misses more than the 500 messages that a subscription replays.
          await sleep(20);
        }
      })();
      await Promise.all(receivers.map((client) => client.receives(1)));
      for (const { node } of system.sources) {
        await system.stopNode(node, "SIGTERM");
        await system.startNodes();
      }
      done = true;
      await load;
      await Promise.all(receivers.map((client) => client.receives(sent.length)));
      for (const client of receivers) {
        assertReceivedAll(client, sent);
        assert.ok(client.subscribed > 1);
      }
    },
  ],
  [
    "While nodes restart in turn under load, every stream reconnects and receives every event once",
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("rolling")]);
      const clients = await onEachNode(system, ann);
      let count = 0;
      let done = false;
      const load = (async () => {
        while (!done) {
          // A request whose answer was lost may have made an event; the history has the true count.
          const changed = system.admin.describeChannel(channel, `No. ${count + 1}`);
          await changed.then(() => count++, () => {});
          await sleep(20);
        }
      })();
      for (const { node } of system.sources) {
        await system.stopNode(node, "SIGTERM");
        await system.startNodes();
      }
      done = true;
      await load;
      await system.admin.describeChannel(channel, "The last.");
      for (const client of clients) await client.receivesAtLeast(channel, count + 1);
      for (const client of clients) {
        await client.assertResumed();
        assert.equal((await client.read()).readyState, 1);
        client.assertNeverRejected();
      }
    },
  ],
  [
    "When Redis loses its history, every open stream gets a resync without a disconnect, and events continue",
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("lost")]);
      const clients = await onEachNode(system, ann);
      await system.admin.describeChannel(channel, "Before.");
      for (const client of clients) await client.receivesExactly(channel, 1);
      await system.redis(DELETE_KEYS);
      const isResync = (/** @type {{name: string}} */ { name }) => name === "resync";
      for (const client of clients) {
        await client.until("resync", ({ events }) => events.some(isResync));
      }
      await system.admin.describeChannel(channel, "Afterwards.");
      for (const client of clients) {
        const { events, opened, errors } = await client.receivesExactly(channel, 1);
        assert.equal(events.filter(isResync).length, 1);
        assert.deepEqual({ opened, errors }, { opened: 1, errors: 0 });
      }
    },
  ],
];
