import assert from "node:assert/strict";
import SockJS from "sockjs-client";
import { heardAll, texts } from "../conversation.mjs";
import { SOCKJS_IN_NODE, WAYS, talker } from "../sockets.mjs";

const EACH = 1_000;
/** Said at a time: more than the 512 KiB that may wait for a client would not be lost, but make it begin anew. */
const AT_ONCE = 250;
/** What sockjs-client knows and cannot do without a document, or without Internet Explorer. */
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
  ...WAYS.map((way) => /** @type {import("../run.mjs").Scenario} */ ([
    `stompjs over ${way}: ${EACH} messages each way arrive in order, none lost, none twice`,
    async (stage) => {
      const [ann, ben, channel] = await Promise.all([stage.person("ann"), stage.person("ben"), stage.channel("talk")]);
      const [annsLine, bensLine] = await Promise.all([stage.line(0), stage.line(1)]);
      const here = stage.keep(talker(way, annsLine.url, ann, channel));
      const there = stage.keep(talker("raw WebSocket", bensLine.url, ben, channel));
      await Promise.all([here.open(), there.open()]);
      await here.sayForSure("The first.");
      const [hers, his] = [texts("Ann", EACH), texts("Ben", EACH)];
      for (let number = 0; number < EACH; number++) {
        here.say(hers[number]);
        there.say(his[number]);
        const said = 1 + 2 * (number + 1);
        if ((number + 1) % AT_ONCE === 0) await Promise.all([here.hears(said), there.hears(said)]);
      }
      for (const one of [here, there]) heardAll(one, ["The first."], hers, his);
      // Only a RECEIPT lets stompjs close the socket by itself.
      await Promise.all([here.close(), there.close()]);
      for (const { closed } of [here, there]) assert.deepEqual(closed.map(({ wasClean }) => wasClean), [true]);
    },
  ])),
  [
    `sockjs-client takes ${SOCKJS_IN_NODE.join(", ")} in Node, and no other transport`,
    async (stage) => {
      /** @param {string} transport @returns {Promise<string>} */
      const attempt = (transport) =>
        new Promise((resolve) => {
          const socket = new SockJS(`${stage.base.origin}/ws`, null, { transports: transport, timeout: 20_000 });
          socket.onopen = () => (resolve(/** @type {any} */ (socket).transport), socket.close());
          socket.onclose = ({ code }) => resolve(`closed with ${code}`);
        });
      for (const transport of SOCKJS_IN_NODE) assert.equal(await attempt(transport), transport);
      for (const transport of NOT_IN_NODE) assert.equal(await attempt(transport), "closed with 2000", transport);
    },
  ],
];
