// stompjs and sockjs-client in a browser, on a page of the system's origin.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { assertReceivedAll, texts } from "../messages.mjs";
import { stompClient } from "../transports.mjs";
import { StompClient } from "../stomp-client.mjs";

const MESSAGES = 500;
const BATCH = 250;
const SOCKJS_IN_CHROMIUM = [
  "websocket",
  "xhr-streaming",
  "eventsource",
  "iframe-eventsource",
  "htmlfile",
  "iframe-htmlfile",
  "xhr-polling",
  "iframe-xhr-polling",
  "jsonp-polling",
];
const CLOSES = 5;
/** From `deactivate()` to the WebSocket's `onclose`: a browser that waits for the server's FIN takes 2,000 ms. */
const CLOSE_LIMIT_MS = 50;
/** Only for Internet Explorer. */
const NOT_IN_CHROMIUM = ["xdr-streaming", "xdr-polling"];
const TRANSPORTS = ["raw WebSocket", ...SOCKJS_IN_CHROMIUM.map((transport) => `SockJS ${transport}`)];

const packages = new URL("../node_modules/", import.meta.url);

/**
 * A page with both libraries and {@link StompClient}. They are evaluated, not loaded, so that the content security policy
 * still applies to what the libraries do.
 *
 * @param {import("../system.mjs").System} system
 */
async function page(system) {
  const [stomp, sockjs, proxy] = await Promise.all([
    readFile(new URL("@stomp/stompjs/bundles/stomp.umd.js", packages), "utf8"),
    readFile(new URL("sockjs-client/dist/sockjs.min.js", packages), "utf8"),
    system.proxy(0),
  ]);
  const person = await system.browser(proxy.url);
  for (const script of [stomp, sockjs, `window.StompClient = ${StompClient}`]) await person.page.evaluate(script);
  return person;
}

/** @type {import("../run.mjs").Scenario[]} */
export const chromium = [
  ...TRANSPORTS.map((transport) => /** @type {import("../run.mjs").Scenario} */ ([
    `In Chromium, stompjs over ${transport}: ${MESSAGES} messages in each direction arrive in order, without loss or duplicates`,
    async (system) => {
      const [person, ann, ben] = await Promise.all([page(system), system.person("ann"), system.person("ben")]);
      const [channel, bensProxy] = await Promise.all([system.channel("talk"), system.proxy(1)]);
      const there = system.keep(stompClient("raw WebSocket", bensProxy.url, ben, channel));
      const opened = person.page.evaluate(
        async ({ transport, token, channel, author }) => {
          const { StompClient, StompJs, SockJS } = /** @type {any} */ (window);
          const transports = transport.replace("SockJS ", "");
          const socket =
            transport === "raw WebSocket"
              ? { brokerURL: "/ws/websocket" }
              : { webSocketFactory: () => new SockJS("/ws", null, { transports, timeout: 20_000 }) };
          const stompClient = new StompClient(StompJs.Client, { socket, token, channel, author });
          Object.assign(window, { stompClient });
          await stompClient.open();
          return stompClient.client.webSocket.transport ?? "raw WebSocket";
        },
        { transport, token: ann.token, channel, author: ann.user.id },
      );
      const [used] = await Promise.all([opened, there.open()]);
      assert.equal(used, transport.replace("SockJS ", ""));
      const [anns, bens] = [texts("Ann", MESSAGES), texts("Ben", MESSAGES)];
      for (let begin = 0; begin < MESSAGES; begin += BATCH) {
        const end = begin + BATCH;
        for (const text of bens.slice(begin, end)) there.send(text);
        await person.page.evaluate(
          async ([texts, last]) => {
            const { stompClient } = /** @type {any} */ (window);
            for (const text of texts) stompClient.send(text);
            await stompClient.receives(last);
          },
          /** @type {const} */ ([anns.slice(begin, end), 2 * end]),
        );
        await there.receives(2 * end);
      }
      const here = await person.page.evaluate(
        async (last) => {
          const { stompClient } = /** @type {any} */ (window);
          await stompClient.sendWithReceipt("The last.");
          await stompClient.receives(last);
          await stompClient.close();
          const { received, closed, errors } = /** @type {StompClient} */ (stompClient);
          return { received, closed, errors };
        },
        2 * MESSAGES + 1,
      );
      await there.receives(2 * MESSAGES + 1);
      await there.close();
      for (const client of [here, there]) {
        assertReceivedAll(client, anns, bens, ["The last."]);
        assert.deepEqual(client.closed.map(({ wasClean }) => wasClean), [true]);
      }
      assert.deepEqual(person.errors, []);
    },
  ])),
  ...["raw WebSocket", "SockJS websocket"].map((transport) => /** @type {import("../run.mjs").Scenario} */ ([
    `In Chromium, stompjs over ${transport} is closed within ${CLOSE_LIMIT_MS} ms of deactivate()`,
    async (system) => {
      const [person, ann, channel] = await Promise.all([page(system), system.person("ann"), system.channel("close")]);
      const closes = await person.page.evaluate(
        async ({ transport, token, channel, author, count }) => {
          const { StompClient, StompJs, SockJS } = /** @type {any} */ (window);
          const socket =
            transport === "raw WebSocket"
              ? { brokerURL: "/ws/websocket" }
              : { webSocketFactory: () => new SockJS("/ws", null, { transports: "websocket", timeout: 20_000 }) };
          const closes = [];
          for (let round = 0; round < count; round++) {
            const stompClient = new StompClient(StompJs.Client, { socket, token, channel, author });
            await stompClient.open();
            const started = performance.now();
            await stompClient.close();
            closes.push({ ms: Math.round(performance.now() - started), closed: stompClient.closed, errors: stompClient.errors });
          }
          return closes;
        },
        { transport, token: ann.token, channel, author: ann.user.id, count: CLOSES },
      );
      for (const { closed, errors } of closes) {
        assert.deepEqual(closed.map(({ wasClean }) => wasClean), [true]);
        assert.deepEqual(errors, []);
      }
      const sorted = closes.map(({ ms }) => ms).sort((one, other) => one - other);
      const median = sorted[Math.floor(CLOSES / 2)];
      assert.ok(median <= CLOSE_LIMIT_MS, `the median of ${sorted.join(", ")} ms is over ${CLOSE_LIMIT_MS} ms`);
      assert.deepEqual(person.errors, []);
    },
  ])),
  [
    `sockjs-client rejects ${NOT_IN_CHROMIUM.join(" and ")} in Chromium`,
    async (system) => {
      const person = await page(system);
      for (const transports of NOT_IN_CHROMIUM) {
        const code = await person.page.evaluate(
          (transports) =>
            new Promise((resolve) => {
              const socket = new /** @type {any} */ (window).SockJS("/ws", null, { transports });
              socket.onclose = (/** @type {{code: number}} */ { code }) => resolve(code);
            }),
          transports,
        );
        assert.equal(code, 2000, transports);
      }
    },
  ],
];
