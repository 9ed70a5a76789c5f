import assert from "node:assert/strict";
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
];
