// Long silences. These scenarios run side by side, and leave the processors to others.
import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";
import { heardAll } from "../conversation.mjs";
import { WAYS, talker } from "../sockets.mjs";

/** Longer than the 60 s after which the server gives up a client that should beat and does not. */
const QUIET_MS = 75_000;
/** What both sides ask for, and get. */
const BEAT_MS = 10_000;

/** @type {import("../run.mjs").Scenario[]} */
export const silence = [
  [
    `Over ${WAYS.length} ways at once, ${QUIET_MS / 1000} s of silence are bridged by heart-beats in both directions`,
    async (stage) => {
      const [ann, channel] = await Promise.all([stage.person("ann"), stage.channel("silent")]);
      const line = await stage.line(0);
      const talkers = WAYS.map((way) => stage.keep(talker(way, line.url, ann, channel)));
      await Promise.all(talkers.map((one) => one.open()));
      await pass(QUIET_MS);
      for (const [index, { beats, closed }] of talkers.entries()) {
        assert.deepEqual(closed, [], WAYS[index]);
        for (const [direction, times] of Object.entries(beats)) {
          // One may be on its way, and the first one's period began a little later.
          assert.ok(times.length >= QUIET_MS / BEAT_MS - 2, `${WAYS[index]}: ${times.length} ${direction}`);
        }
      }
      for (const one of talkers) await one.sayForSure(`Still there.`);
      await Promise.all(talkers.map((one) => one.hears(WAYS.length)));
      for (const one of talkers) heardAll(one, WAYS.map(() => "Still there."));
      for (const { subscribed } of talkers) assert.equal(subscribed, 1);
    },
  ],
];
