// Long silences. These scenarios run side by side, and leave the processors to others.
import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";
import { heardAll } from "../conversation.mjs";
import { Listener } from "../listener.mjs";
import { WAYS, talker } from "../sockets.mjs";

/** Longer than the 60 s after which the server gives up a client that should beat and does not. */
const QUIET_MS = 75_000;
/** What both sides ask for, and get. */
const BEAT_MS = 10_000;

const IDLE_MS = 180_000;
/** Comments come every 15 s: so many bridge more than the 45 s after which clients take a stream for dead. */
const COMMENTS = 4;
const LONGEST_GAP_MS = 30_000;

/**
 * @param {import("../stage.mjs").Stage} stage
 * @param {Pick<import("../stage.mjs").Api, "user" | "token">} person
 * @param {string} [password]
 */
async function eachLibrary(stage, person, password) {
  return [
    await Listener.open(stage, "polyfill", 0, person),
    await Listener.open(stage, "eventsource", 1, person),
    ...(await Listener.openTabs(stage, 0, person, 1, password)),
  ];
}

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
  [
    `Streams that are idle for ${IDLE_MS / 1000} s are kept alive: no library reconnects or reports an error`,
    async (stage) => {
      const ann = await stage.person("ann");
      const listeners = await eachLibrary(stage, ann);
      // For dev/test: starting browsers takes the processors, which others want from here on.
      console.log("The system is silent.");
      const end = pass(IDLE_MS);
      for (const listener of listeners) {
        await listener.until("comments alone", () => listener.mostComments >= COMMENTS, IDLE_MS);
      }
      // For dev/test: from here on an event between the comments does no harm.
      console.log("The system may be used.");
      await end;
      for (const listener of listeners) {
        const { opened, errors, readyState } = await listener.read();
        const { kind, requests, longestGap } = listener;
        assert.deepEqual(
          { kind, opened, errors, readyState, requests: requests.length },
          { kind, opened: 1, errors: 0, readyState: 1, requests: 1 },
        );
        assert.ok(longestGap < LONGEST_GAP_MS, `${kind}: nothing came for ${longestGap} ms`);
        await listener.isComplete();
      }
    },
  ],
  [
    "Without a valid token each library asks once, and stays closed",
    async (stage) => {
      const { user, token } = await stage.person("ann");
      const listeners = await eachLibrary(stage, { user, token: `${token}x` }, "wrong");
      // The polyfill would be back after a second, the others after three.
      await pass(15_000);
      for (const listener of listeners) {
        const { kind, requests } = listener;
        const { opened, errors, readyState } = await listener.read();
        assert.deepEqual(
          { kind, opened, errors, readyState, requests: requests.length },
          { kind, opened: 0, errors: 1, readyState: 2, requests: 1 },
        );
      }
    },
  ],
];
