import assert from "node:assert/strict";
import http from "node:http";
import { SseClient } from "../sse-client.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const events = [
  [
    "Through each library, every event has its id in Redis, and each of two tabs receives every event",
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("seen")]);
      const clients = [
        await SseClient.open(system, "polyfill", 0, ann),
        await SseClient.open(system, "eventsource", 1, ann),
        ...(await SseClient.openTabs(system, 0, ann, 2)),
      ];
      for (const client of clients) await client.receivesSync();
      await Promise.all(Array.from({ length: 50 }, (_, number) => system.admin.describeChannel(channel, `No. ${number}`)));
      for (const client of clients) assert.equal((await client.receivesExactly(channel, 50)).errors, 0);
    },
  ],
  [
    "Closing the older of two tabs does not affect the other",
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("tabs")]);
      const [first, second] = await SseClient.openTabs(system, 1, ann, 2);
      await Promise.all([first.receivesSync(), second.receivesSync()]);
      await first.close();
      for (let number = 0; number < 20; number++) await system.admin.describeChannel(channel, `No. ${number}`);
      const { opened, errors, readyState } = await second.receivesExactly(channel, 20);
      assert.deepEqual({ opened, errors, readyState }, { opened: 1, errors: 0, readyState: 1 });
    },
  ],
  [
    "nginx forwards an event immediately",
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("quick")]);
      const client = await SseClient.open(system, "eventsource", 0, ann);
      await client.receivesSync();
      /** @type {number[]} */
      const latencies = [];
      for (let number = 1; number <= 11; number++) {
        const started = Date.now();
        await system.admin.describeChannel(channel, `No. ${number}`);
        await client.receivesAtLeast(channel, number);
        latencies.push(client.lastReadAt - started);
      }
      latencies.sort((a, b) => a - b);
      // The median: other processes may use the processors for a moment.
      assert.ok(latencies[5] < 200, `from the request to the event: ${latencies} ms`);
    },
  ],
  [
    "Two users who request the same URLs receive different data",
    async (system) => {
      const [ann, ben] = await Promise.all([system.person("ann"), system.person("ben")]);
      const anns = await SseClient.open(system, "polyfill", 0, ann);
      const bens = await SseClient.open(system, "polyfill", 0, ben);
      await Promise.all([anns.receivesSync(), bens.receivesSync()]);
      const { id } = await system.admin.createPrivate([system.admin.user.id, ann.user.id]);
      await system.admin.post(id, "between us");
      const { events } = await anns.until("a notification", ({ events }) =>
        events.some(({ name }) => name === "notifications"),
      );
      assert.ok(events.some(({ name, data }) => name === "channels.refresh" && data.includes(id)));
      for (const { name, data } of (await bens.read()).events) assert.ok(name !== "notifications" && !data.includes(id));
      assert.deepEqual([(await ann.notifications()).length, (await ben.notifications()).length], [1, 0]);
    },
  ],
  [
    "nginx does not expose metrics",
    async (system) => {
      const paths = ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/api/metrics", "/api/../metrics"];
      for (const path of [...paths, "/actuator/prometheus"]) {
        // fetch would normalize the path.
        const status = await new Promise((resolve, reject) => {
          const { hostname, port } = system.base;
          const request = http.get({ hostname, port, path, agent: false }, (response) => {
            response.resume();
            resolve(response.statusCode);
          });
          request.on("error", reject);
        });
        assert.equal(status, 404, path);
      }
    },
  ],
];
