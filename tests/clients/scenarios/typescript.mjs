// The client package in clients/typescript: its example, against two nodes, while the line is cut or WebSockets are blocked.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { texts } from "../messages.mjs";

/** @typedef {import("../system.mjs").System} System */

const MESSAGES = 60;
const example = fileURLToPath(new URL("../../../clients/typescript/example/chat.mjs", import.meta.url));
/** Node 20 has no WebSocket, and the example's folder no sockjs-client. */
const libraries = new URL("../example-libraries.mjs", import.meta.url).href;

/**
 * Runs the example.
 *
 * @param {System} system @param {string} server @param {string} username @param {string} channel
 */
function start(system, server, username, channel) {
  const env = { ...process.env, CHAT_SERVER: server, CHAT_USERNAME: username, CHAT_PASSWORD: system.password, CHAT_CHANNEL: channel };
  const child = spawn(process.execPath, ["--import", libraries, example], { env, stdio: ["pipe", "pipe", "inherit"] });
  system.cleanups.push(() => child.kill());
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
  return {
    /** @param {string} text */
    send: (text) => child.stdin.write(`${text}\n`),
    /** The content of each message, by its position. @returns {[number, string][]} */
    received: () => [...output.matchAll(/^(\d+): (.*)$/gm)].map(([, seq, text]) => [Number(seq), text]),
    output: () => output,
    /** @returns {Promise<number>} the exit code, once all messages are delivered */
    async end() {
      child.stdin.end();
      const [code] = await once(child, "exit");
      return code;
    },
  };
}

/** @param {() => boolean} condition */
async function wait(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** @type {import("../run.mjs").Scenario[]} */
export const typescript = [
  [
    `the TypeScript client sends ${MESSAGES} messages over a cut of its line: each arrives once, in order, at both nodes`,
    async (system) => {
      const [name, reader] = [system.unique("client"), system.unique("reader")];
      await Promise.all([system.personNamed(name), system.personNamed(reader)]);
      const channel = await system.channel("typescript");
      const [line, quiet] = await Promise.all([system.proxy(0), system.proxy(1)]);
      const here = start(system, line.url, name, channel);
      const there = start(system, quiet.url, reader, channel);
      await wait(() => here.output().includes("event: sync") && there.output().includes("event: sync"));
      const sent = texts(name, MESSAGES);
      for (const [index, text] of sent.entries()) {
        here.send(text);
        if (index === 10) {
          line.cut();
          setTimeout(() => line.restore(), 300);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assert.equal(await here.end(), 0);
      await wait(() => there.received().length >= MESSAGES);
      const expected = sent.map((text, index) => [index + 1, text]);
      assert.deepEqual(here.received(), expected);
      assert.deepEqual(there.received(), expected);
      // The event stream notices a silent line after 45 s only.
      assert.ok(line.opened.websocket > 1, `the line was not cut: ${JSON.stringify(line.opened)}`);
      there.send("bye");
      const ending = Date.now();
      assert.equal(await there.end(), 0);
      assert.ok(Date.now() - ending < 10_000, "a closed client keeps its process alive");
    },
  ],
  [
    "the TypeScript client goes on over HTTP where WebSockets are blocked, and reports a refusal",
    async (system) => {
      const name = system.unique("client");
      await system.personNamed(name);
      const channel = await system.channel("typescript");
      /** @type {string[]} */
      const requests = [];
      const line = await system.proxy(0, (bytes, fromClient) => {
        if (fromClient) requests.push(...(bytes.toString("latin1").match(/^POST \/ws\/\S+/gm) ?? []));
      });
      line.refuseWebSockets();
      const client = start(system, line.url, name, channel);
      client.send("over HTTP");
      client.send("x".repeat(2_001));
      client.send("and again");
      assert.equal(await client.end(), 0);
      assert.deepEqual(client.received(), [[1, "over HTTP"], [2, "and again"]]);
      assert.match(client.output(), /^refused: x+: /m);
      assert.ok(requests.some((path) => path.includes("/xhr_send")), `${requests}`);
    },
  ],
];
