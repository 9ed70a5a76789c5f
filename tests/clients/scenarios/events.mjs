import assert from "node:assert/strict";
import http from "node:http";
import { Listener } from "../listener.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const events = [
  [
    "Through each library every event has an id under which Redis keeps it, and each of two tabs gets every event",
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("seen")]);
      const listeners = [
        await Listener.open(stage, "polyfill", 0, ann),
        await Listener.open(stage, "eventsource", 1, ann),
        ...(await Listener.openTabs(stage, 0, ann, 2)),
      ];
      for (const listener of listeners) await listener.synced();
      await Promise.all(Array.from({ length: 50 }, (_, number) => stage.admin.describeChannel(channel, `No. ${number}`)));
      for (const listener of listeners) assert.equal((await listener.hasAll(channel, 50)).errors, 0);
    },
  ],
  [
    "Closing the older of two tabs does not hurt the other",
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("tabs")]);
      const [first, second] = await Listener.openTabs(stage, 1, ann, 2);
      await Promise.all([first.synced(), second.synced()]);
      await first.close();
      for (let number = 0; number < 20; number++) await stage.admin.describeChannel(channel, `No. ${number}`);
      const { opened, errors, readyState } = await second.hasAll(channel, 20);
      assert.deepEqual({ opened, errors, readyState }, { opened: 1, errors: 0, readyState: 1 });
    },
  ],
  [
    "nginx passes an event on at once",
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("quick")]);
      const listener = await Listener.open(stage, "eventsource", 0, ann);
      await listener.synced();
      /** @type {number[]} */
      const took = [];
      for (let number = 1; number <= 11; number++) {
        const begun = Date.now();
        await stage.admin.describeChannel(channel, `No. ${number}`);
        await listener.hasAtLeast(channel, number);
        took.push(listener.came - begun);
      }
      took.sort((a, b) => a - b);
      // Most of them: something else may be using the processors for a moment.
      assert.ok(took[5] < 200, `from the request to the event: ${took} ms`);
    },
  ],
  [
    "Two people who ask for the same addresses are told different things",
    async (stage) => {
      const [ann, ben] = await Promise.all([stage.person("ann"), stage.person("ben")]);
      const anns = await Listener.open(stage, "polyfill", 0, ann);
      const bens = await Listener.open(stage, "polyfill", 0, ben);
      await Promise.all([anns.synced(), bens.synced()]);
      const { id } = await stage.admin.createPrivate([stage.admin.user.id, ann.user.id]);
      await stage.admin.post(id, "between us");
      const { events } = await anns.until("a notification", ({ events }) =>
        events.some(({ name }) => name === "notifications"),
      );
      assert.ok(events.some(({ name, data }) => name === "channels.refresh" && data.includes(id)));
      for (const { name, data } of (await bens.read()).events) assert.ok(name !== "notifications" && !data.includes(id));
      assert.deepEqual([(await ann.notifications()).length, (await ben.notifications()).length], [1, 0]);
    },
  ],
  [
    "What is measured is not to be had through nginx",
    async (stage) => {
      const ours = ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/api/metrics", "/api/../metrics"];
      for (const path of [...ours, "/actuator/prometheus"]) {
        // As it is written: fetch would tidy it up.
        const status = await new Promise((resolve, reject) => {
          const { hostname, port } = stage.base;
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
