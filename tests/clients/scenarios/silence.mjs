// Long silences. These scenarios run concurrently and need little processor time.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { assertReceivedAll } from "../messages.mjs";
import { SseClient } from "../sse-client.mjs";
import { TRANSPORTS, stompClient } from "../transports.mjs";

/** Longer than the 60 s after which the server closes a client whose heart-beats are missing. */
const QUIET_MS = 75_000;
/** The heart-beat interval that both sides request. */
const BEAT_MS = 10_000;

const IDLE_MS = 180_000;
/** Comments come every 15 s, so these span more than the 45 s after which clients consider a stream dead. */
const COMMENTS = 4;
const MAX_GAP_MS = 30_000;

/**
 * @param {import("../system.mjs").System} system
 * @param {Pick<import("../system.mjs").Api, "user" | "token">} person
 * @param {string} [password]
 */
async function eachLibrary(system, person, password) {
  return [
    await SseClient.open(system, "polyfill", 0, person),
    await SseClient.open(system, "eventsource", 1, person),
    ...(await SseClient.openTabs(system, 0, person, 1, password)),
  ];
}

/** @type {import("../run.mjs").Scenario[]} */
export const silence = [
  [
    `Over ${TRANSPORTS.length} transports, heart-beats in both directions keep connections open for ${QUIET_MS / 1000} s of silence`,
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("silent")]);
      const proxy = await system.proxy(0);
      const clients = TRANSPORTS.map((transport) => system.keep(stompClient(transport, proxy.url, ann, channel)));
      await Promise.all(clients.map((client) => client.open()));
      await sleep(QUIET_MS);
      for (const [index, { heartBeats, closed }] of clients.entries()) {
        assert.deepEqual(closed, [], TRANSPORTS[index]);
        for (const [direction, times] of Object.entries(heartBeats)) {
          // The last one may be in flight, and the first interval began a little later.
          assert.ok(times.length >= QUIET_MS / BEAT_MS - 2, `${TRANSPORTS[index]}: ${times.length} ${direction}`);
        }
      }
      for (const client of clients) await client.sendWithReceipt(`Still there.`);
      await Promise.all(clients.map((client) => client.receives(TRANSPORTS.length)));
      for (const client of clients) assertReceivedAll(client, TRANSPORTS.map(() => "Still there."));
      for (const { subscribed } of clients) assert.equal(subscribed, 1);
    },
  ],
  [
    `Keep-alives hold streams open for ${IDLE_MS / 1000} idle seconds: no library reconnects or reports an error`,
    async (system) => {
      const ann = await system.person("ann");
      const clients = await eachLibrary(system, ann);
      // For dev/test: the browsers have started, and other tests may use the processors.
      console.log("All streams are open.");
      const end = sleep(IDLE_MS);
      for (const client of clients) {
        await client.until("consecutive comments", () => client.maxComments >= COMMENTS, IDLE_MS);
      }
      // For dev/test: from here on, events between the comments are allowed.
      console.log("Other tests may send events.");
      await end;
      for (const client of clients) {
        const { opened, errors, readyState } = await client.read();
        const { kind, requests, maxGapMs } = client;
        assert.deepEqual(
          { kind, opened, errors, readyState, requests: requests.length },
          { kind, opened: 1, errors: 0, readyState: 1, requests: 1 },
        );
        assert.ok(maxGapMs < MAX_GAP_MS, `${kind}: no bytes for ${maxGapMs} ms`);
        await client.assertComplete();
      }
    },
  ],
  [
    "Without a valid token, each library sends one request and stays closed",
    async (system) => {
      const { user, token } = await system.person("ann");
      const clients = await eachLibrary(system, { user, token: `${token}x` }, "wrong");
      // The polyfill would reconnect after 1 s, the others after 3 s.
      await sleep(15_000);
      for (const client of clients) {
        const { kind, requests } = client;
        const { opened, errors, readyState } = await client.read();
        assert.deepEqual(
          { kind, opened, errors, readyState, requests: requests.length },
          { kind, opened: 0, errors: 1, readyState: 2, requests: 1 },
        );
      }
    },
  ],
];
