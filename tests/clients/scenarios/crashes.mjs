// A node is killed while users on another node keep sending.
import assert from "node:assert/strict";
import { assertReceivedAll, texts } from "../messages.mjs";
import { SseClient } from "../sse-client.mjs";
import { TRANSPORTS, stompClient } from "../transports.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const crashes = [
  [
    `Over ${TRANSPORTS.length} transports, stompjs reconnects when its node is killed, and receives every message once`,
    async (system) => {
      const [ann, ben, channel] = await Promise.all([system.person("ann"), system.person("ben"), system.channel("crash")]);
      const [dying, living] = await Promise.all([system.proxy(0), system.proxy(1)]);
      const receivers = TRANSPORTS.map((transport) => system.keep(stompClient(transport, dying.url, ann, channel, 200)));
      const sender = system.keep(stompClient("raw WebSocket", living.url, ben, channel));
      await Promise.all([...receivers, sender].map((client) => client.open()));
      // Fewer after the crash than the 500 messages that a subscription replays.
      const sent = texts("Ben", 500);
      // Each waits for the receipt of the previous one, so the messages span the time before, during and after the crash.
      for (const text of sent.slice(0, 100)) await sender.sendWithReceipt(text);
      await Promise.all(receivers.map((client) => client.receives(100)));
      const killed = system.stopNode(system.sources[0].node, "SIGKILL");
      for (const text of sent.slice(100)) await sender.sendWithReceipt(text);
      await killed;
      // In Node, sockjs-client does not notice a broken streaming response before its next heart-beat.
      const isBack = (/** @type {import("../stomp-client.mjs").StompClient} */ client) =>
        client.until("resubscribed", () => client.subscribed > 1);
      await Promise.all(receivers.map(isBack));
      await sender.sendWithReceipt("The last.");
      await Promise.all([...receivers, sender].map((client) => client.receives(sent.length + 1)));
      for (const client of [...receivers, sender]) assertReceivedAll(client, sent, ["The last."]);
      for (const [index, { closed }] of receivers.entries()) assert.ok(closed.length > 0, `${TRANSPORTS[index]} stayed open`);
      assert.deepEqual(sender.closed, []);
    },
  ],
  [
    "Each library resumes when its node is killed during 1,000 events, without loss or duplicates",
    async (system) => {
      const [ann, channel] = await Promise.all([system.person("ann"), system.channel("burst")]);
      const living = await system.proxy(1);
      const admin = await system.adminAt(living.url);
      const [polyfill, eventsource, ...tabs] = [
        await SseClient.open(system, "polyfill", 0, ann),
        await SseClient.open(system, "eventsource", 0, ann),
        ...(await SseClient.openTabs(system, 0, ann, 2)),
      ];
      const interrupted = [polyfill, eventsource, ...tabs];
      const witness = await SseClient.open(system, "polyfill", 1, ann);
      for (const client of [...interrupted, witness]) await client.receivesSync();
      let number = 0;
      const changeUpTo = async (/** @type {number} */ last) => {
        while (number < last) await admin.describeChannel(channel, `No. ${++number}`);
      };
      const burst = (/** @type {number} */ last) => Promise.all(Array.from({ length: 16 }, () => changeUpTo(last)));
      await burst(300);
      await Promise.all([burst(1_000), system.stopNode(system.sources[0].node, "SIGKILL")]);
      for (const client of interrupted) await client.receivesExactly(channel, 1_000);
      for (const client of [polyfill, eventsource, tabs[0]]) await client.assertResumed();
      assert.equal((await witness.receivesExactly(channel, 1_000)).errors, 0);
    },
  ],
];
