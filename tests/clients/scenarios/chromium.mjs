// stompjs and sockjs-client as a browser runs them, in a page of the system's own origin.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { heardAll, texts } from "../conversation.mjs";
import { talker } from "../sockets.mjs";
import { Talker } from "../talker.mjs";

const EACH = 500;
const AT_ONCE = 250;
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
/** For Internet Explorer alone. */
const NOT_IN_CHROMIUM = ["xdr-streaming", "xdr-polling"];
const WAYS = ["raw WebSocket", ...SOCKJS_IN_CHROMIUM.map((transport) => `SockJS ${transport}`)];

const packages = new URL("../node_modules/", import.meta.url);

/**
 * A page that has both libraries and {@link Talker}. They are evaluated, not loaded, so that nginx's policy for scripts
 * stays in force for what the libraries do.
 *
 * @param {import("../stage.mjs").Stage} stage
 */
async function page(stage) {
  const [stomp, sockjs, line] = await Promise.all([
    readFile(new URL("@stomp/stompjs/bundles/stomp.umd.js", packages), "utf8"),
    readFile(new URL("sockjs-client/dist/sockjs.min.js", packages), "utf8"),
    stage.line(0),
  ]);
  const person = await stage.browser(line.url);
  for (const script of [stomp, sockjs, `window.Talker = ${Talker}`]) await person.page.evaluate(script);
  return person;
}

/** @type {import("../run.mjs").Scenario[]} */
export const chromium = [
  ...WAYS.map((way) => /** @type {import("../run.mjs").Scenario} */ ([
    `In Chromium, stompjs over ${way}: ${EACH} messages each way arrive in order, none lost, none twice`,
    async (stage) => {
      const [person, ann, ben] = await Promise.all([page(stage), stage.person("ann"), stage.person("ben")]);
      const [channel, bensLine] = await Promise.all([stage.channel("talk"), stage.line(1)]);
      const there = stage.keep(talker("raw WebSocket", bensLine.url, ben, channel));
      const opened = person.page.evaluate(
        async ({ way, token, channel, author }) => {
          const { Talker, StompJs, SockJS } = /** @type {any} */ (window);
          const transports = way.replace("SockJS ", "");
          const socket =
            way === "raw WebSocket"
              ? { brokerURL: "/ws/websocket" }
              : { webSocketFactory: () => new SockJS("/ws", null, { transports, timeout: 20_000 }) };
          const talker = new Talker(StompJs.Client, { socket, token, channel, author });
          Object.assign(window, { talker });
          await talker.open();
          return talker.client.webSocket.transport ?? "raw WebSocket";
        },
        { way, token: ann.token, channel, author: ann.user.id },
      );
      const [taken] = await Promise.all([opened, there.open()]);
      assert.equal(taken, way.replace("SockJS ", ""));
      const [hers, his] = [texts("Ann", EACH), texts("Ben", EACH)];
      for (let begin = 0; begin < EACH; begin += AT_ONCE) {
        const end = begin + AT_ONCE;
        for (const text of his.slice(begin, end)) there.say(text);
        await person.page.evaluate(
          async ([texts, last]) => {
            const { talker } = /** @type {any} */ (window);
            for (const text of texts) talker.say(text);
            await talker.hears(last);
          },
          /** @type {const} */ ([hers.slice(begin, end), 2 * end]),
        );
        await there.hears(2 * end);
      }
      const here = await person.page.evaluate(
        async (last) => {
          const { talker } = /** @type {any} */ (window);
          await talker.sayForSure("The last.");
          await talker.hears(last);
          await talker.close();
          const { heard, closed, errors } = /** @type {Talker} */ (talker);
          return { heard, closed, errors };
        },
        2 * EACH + 1,
      );
      await there.hears(2 * EACH + 1);
      await there.close();
      for (const one of [here, there]) {
        heardAll(one, hers, his, ["The last."]);
        assert.deepEqual(one.closed.map(({ wasClean }) => wasClean), [true]);
      }
      assert.deepEqual(person.errors, []);
    },
  ])),
  ...["raw WebSocket", "SockJS websocket"].map((way) => /** @type {import("../run.mjs").Scenario} */ ([
    `In Chromium, stompjs over ${way} is closed within ${CLOSE_LIMIT_MS} ms of deactivate()`,
    async (stage) => {
      const [person, ann, channel] = await Promise.all([page(stage), stage.person("ann"), stage.channel("close")]);
      const closes = await person.page.evaluate(
        async ({ way, token, channel, author, count }) => {
          const { Talker, StompJs, SockJS } = /** @type {any} */ (window);
          const socket =
            way === "raw WebSocket"
              ? { brokerURL: "/ws/websocket" }
              : { webSocketFactory: () => new SockJS("/ws", null, { transports: "websocket", timeout: 20_000 }) };
          const closes = [];
          for (let round = 0; round < count; round++) {
            const talker = new Talker(StompJs.Client, { socket, token, channel, author });
            await talker.open();
            const started = performance.now();
            await talker.close();
            closes.push({ ms: Math.round(performance.now() - started), closed: talker.closed, errors: talker.errors });
          }
          return closes;
        },
        { way, token: ann.token, channel, author: ann.user.id, count: CLOSES },
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
    `sockjs-client takes all of these in Chromium, and neither ${NOT_IN_CHROMIUM.join(" nor ")}`,
    async (stage) => {
      const person = await page(stage);
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
