// A node dies without a word, while others go on talking.
import assert from "node:assert/strict";
import { heardAll, texts } from "../conversation.mjs";
import { Listener } from "../listener.mjs";
import { WAYS, talker } from "../sockets.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const crashes = [
  [
    `Over ${WAYS.length} ways, stompjs reconnects by itself when its node is killed, and has every message once`,
    async (stage) => {
      const [ann, ben, channel] = await Promise.all([stage.person("ann"), stage.person("ben"), stage.channel("crash")]);
      const [dying, living] = await Promise.all([stage.line(0), stage.line(1)]);
      const hearers = WAYS.map((way) => stage.keep(talker(way, dying.url, ann, channel, 200)));
      const speaker = stage.keep(talker("raw WebSocket", living.url, ben, channel));
      await Promise.all([...hearers, speaker].map((one) => one.open()));
      // Fewer after the crash than the 500 that a subscription brings.
      const said = texts("Ben", 500);
      // Each after the one before is kept: so they are said before, during and after the crash.
      for (const text of said.slice(0, 100)) await speaker.sayForSure(text);
      await Promise.all(hearers.map((one) => one.hears(100)));
      const killed = stage.end(stage.sources[0].node, "SIGKILL");
      for (const text of said.slice(100)) await speaker.sayForSure(text);
      await killed;
      // In Node sockjs-client does not see a streaming answer break off; its next heart-beat shows it.
      const back = (/** @type {import("../talker.mjs").Talker} */ one) => one.until("back", () => one.subscribed > 1);
      await Promise.all(hearers.map(back));
      await speaker.sayForSure("The last.");
      await Promise.all([...hearers, speaker].map((one) => one.hears(said.length + 1)));
      for (const one of [...hearers, speaker]) heardAll(one, said, ["The last."]);
      for (const [index, { closed }] of hearers.entries()) assert.ok(closed.length > 0, `${WAYS[index]} was interrupted`);
      assert.deepEqual(speaker.closed, []);
    },
  ],
  [
    "Each library goes on where it was when its node is killed amid 1,000 events: none is lost, none comes twice",
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("burst")]);
      const living = await stage.line(1);
      const admin = await stage.adminAt(living.url);
      const [polyfill, eventsource, ...tabs] = [
        await Listener.open(stage, "polyfill", 0, ann),
        await Listener.open(stage, "eventsource", 0, ann),
        ...(await Listener.openTabs(stage, 0, ann, 2)),
      ];
      const interrupted = [polyfill, eventsource, ...tabs];
      const witness = await Listener.open(stage, "polyfill", 1, ann);
      for (const listener of [...interrupted, witness]) await listener.synced();
      let number = 0;
      const changeUpTo = async (/** @type {number} */ last) => {
        while (number < last) await admin.describeChannel(channel, `No. ${++number}`);
      };
      const burst = (/** @type {number} */ last) => Promise.all(Array.from({ length: 16 }, () => changeUpTo(last)));
      await burst(300);
      await Promise.all([burst(1_000), stage.end(stage.sources[0].node, "SIGKILL")]);
      for (const listener of interrupted) await listener.hasAll(channel, 1_000);
      for (const listener of [polyfill, eventsource, tabs[0]]) await listener.resumedByItself();
      assert.equal((await witness.hasAll(channel, 1_000)).errors, 0);
    },
  ],
];
