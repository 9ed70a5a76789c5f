import assert from "node:assert/strict";
import SockJS from "sockjs-client";
import { assertReceivedAll, texts } from "../messages.mjs";
import { SOCKJS_IN_NODE, TRANSPORTS, stompClient } from "../transports.mjs";

const MESSAGES = 1_000;
/** Messages per batch. More than 512 KiB queued for a client would not be lost, but would disconnect it. */
const BATCH = 250;
/** Transports of sockjs-client that need a document or Internet Explorer. */
const NOT_IN_NODE = [
  "xdr-streaming",
  "iframe-eventsource",
  "htmlfile",
  "iframe-htmlfile",
  "xdr-polling",
  "iframe-xhr-polling",
  "jsonp-polling",
];

/** @type {import("../run.mjs").Scenario[]} */
export const transports = [
  ...TRANSPORTS.map((transport) => /** @type {import("../run.mjs").Scenario} */ ([
    `stompjs over ${transport}: ${MESSAGES} messages in each direction arrive in order, without loss or duplicates`,
    async (system) => {
      const [ann, ben, channel] = await Promise.all([system.person("ann"), system.person("ben"), system.channel("talk")]);
      const [annsProxy, bensProxy] = await Promise.all([system.proxy(0), system.proxy(1)]);
      const here = system.keep(stompClient(transport, annsProxy.url, ann, channel));
      const there = system.keep(stompClient("raw WebSocket", bensProxy.url, ben, channel));
      await Promise.all([here.open(), there.open()]);
      await here.sendWithReceipt("The first.");
      const [anns, bens] = [texts("Ann", MESSAGES), texts("Ben", MESSAGES)];
      for (let number = 0; number < MESSAGES; number++) {
        here.send(anns[number]);
        there.send(bens[number]);
        const sent = 1 + 2 * (number + 1);
        if ((number + 1) % BATCH === 0) await Promise.all([here.receives(sent), there.receives(sent)]);
      }
      for (const client of [here, there]) assertReceivedAll(client, ["The first."], anns, bens);
      // stompjs closes the socket cleanly only after a RECEIPT.
      await Promise.all([here.close(), there.close()]);
      for (const { closed } of [here, there]) assert.deepEqual(closed.map(({ wasClean }) => wasClean), [true]);
    },
  ])),
  [
    `sockjs-client connects over ${SOCKJS_IN_NODE.join(", ")} in Node, and over no other transport`,
    async (system) => {
      /** @param {string} transport @returns {Promise<string>} */
      const attempt = (transport) =>
        new Promise((resolve) => {
          const socket = new SockJS(`${system.base.origin}/ws`, null, { transports: transport, timeout: 20_000 });
          socket.onopen = () => (resolve(/** @type {any} */ (socket).transport), socket.close());
          socket.onclose = ({ code }) => resolve(`closed with ${code}`);
        });
      for (const transport of SOCKJS_IN_NODE) assert.equal(await attempt(transport), transport);
      for (const transport of NOT_IN_NODE) assert.equal(await attempt(transport), "closed with 2000", transport);
    },
  ],
];
