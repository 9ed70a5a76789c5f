// Replays a transcript of a stock Spring server against ours. The transcript must declare every difference.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import WebSocket from "ws";

/**
 * @typedef {Record<string, [ours: unknown, reason: string]>} Changes
 * @typedef {{client: string} | {server: string, changes?: Changes} | {added: string, reason: string}
 *   | {omitted: string, reason: string} | {closed: number | null, ours: number, reason: string}} Line
 * @typedef {{name: string, transport: string, lines: Line[]}} Conversation
 * @typedef {{differences: Record<string, string>, conversations: Conversation[]}} Transcript
 *
 * @typedef {{command: string, headers: [string, string][], body: unknown}} Frame
 */

/** @type {Transcript} */
const { differences, conversations } = JSON.parse(await readFile(new URL("../transcript.json", import.meta.url), "utf8"));
const TIMEOUT_MS = 20_000;
/** Placeholders for values that differ from run to run. */
const MASKS = /** @type {const} */ ([
  ["session", "{session}"],
  ["message-id", "{message-id}"],
]);

/** @param {string} text one frame with its NUL @returns {Frame} */
function parse(text) {
  const parts = /^([A-Z]+)\n((?:[^\n]+\n)*)\n([^]*)\0$/.exec(text);
  assert.ok(parts, `not a frame: ${JSON.stringify(text)}`);
  const [, command, head, body] = parts;
  const headers = head.split("\n").slice(0, -1).map((line) => /** @type {[string, string]} */ (splitHeader(line)));
  return { command, headers, body: body === "" ? "" : JSON.parse(body) };
}

/** @param {string} line */
function splitHeader(line) {
  const at = line.indexOf(":");
  assert.ok(at > 0, `not a header: ${JSON.stringify(line)}`);
  return [line.slice(0, at), line.slice(at + 1)];
}

/** Parses a frame of ours and masks the values that differ from run to run. @param {string} text @returns {Frame} */
function received(text) {
  const frame = parse(text);
  const octets = Buffer.byteLength(text.slice(text.indexOf("\n\n") + 2, -1));
  for (const header of frame.headers) {
    for (const [name, mask] of MASKS) if (header[0] === name && header[1]) header[1] = mask;
    if (header[0] === "content-length" && header[1] === String(octets)) header[1] = "{octets}";
  }
  if (frame.command === "MESSAGE") {
    const body = /** @type {Record<string, unknown>} */ (frame.body);
    if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(String(body.id))) body.id = "{id}";
    for (const name of ["createdAt", "updatedAt"]) {
      if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(String(body[name]))) body[name] = "{instant}";
    }
  }
  return frame;
}

/** @param {Frame} frame */
function normalize({ command, headers, body }) {
  return { command, headers: headers.map(([name, value]) => `${name}:${value}`).sort(), body };
}

/** Applies declared differences to a frame of Spring. @param {Frame} frame @param {Changes} changes @param {Set<string>} used */
function changed({ command, headers, body }, changes, used) {
  const ours = new Map(headers);
  const fields = typeof body === "object" ? { .../** @type {object} */ (body) } : body;
  for (const [name, [value, reason]] of Object.entries(changes)) {
    used.add(reason);
    if (name.startsWith("body.")) /** @type {any} */ (fields)[name.slice(5)] = value;
    else ours.set(name, String(value));
  }
  const frame = { command, headers: [...ours], body: fields };
  assert.notDeepEqual(frame, { command, headers, body }, "a declared difference has no effect");
  return frame;
}

/** Sorts frames: the order between commands and between subscriptions is undefined. @param {Frame[]} frames */
function inOrder(frames) {
  const kind = (/** @type {Frame} */ { command, headers }) =>
    `${command} ${headers.find(([name]) => name === "subscription")?.[1] ?? ""}`;
  return [...frames].sort((a, b) => kind(a).localeCompare(kind(b))).map(normalize);
}

/** @param {string} url @param {string} transport */
function connect(url, transport) {
  const base = url.replace("http", "ws");
  const sockjs = transport !== "raw WebSocket";
  const protocols = sockjs ? [] : ["v12.stomp", "v11.stomp", "v10.stomp"];
  const path = sockjs ? `000/${Math.random().toString(36).slice(2)}/websocket` : "websocket";
  const socket = new WebSocket(`${base}/ws/${path}`, protocols);
  /** @type {string[]} */
  const frames = [];
  /** @type {{code?: number, sockjs?: number}} */
  const ended = {};
  let opened = !sockjs;
  const receive = (/** @type {string} */ text) => void (text !== "\n" && frames.push(text));
  socket.on("message", (data) => {
    const text = String(data);
    if (!sockjs) return receive(text);
    assert.equal(text === "o", !opened, `unexpected ${text}`);
    if (!opened) opened = true;
    else if (text[0] === "a") for (const message of JSON.parse(text.slice(1))) receive(message);
    else [ended.sockjs] = JSON.parse(text.slice(1));
  });
  socket.on("close", (code) => (ended.code = code));
  /** @param {string} description @param {() => boolean} condition */
  const until = async (description, condition) => {
    const deadline = Date.now() + TIMEOUT_MS;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`timeout: ${description}; received ${JSON.stringify(frames)}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  return {
    frames,
    ended,
    until,
    open: () => until("open", () => opened && socket.readyState === WebSocket.OPEN),
    send: (/** @type {string} */ text) => socket.send(sockjs ? JSON.stringify([text]) : text),
    protocol: () => (sockjs ? undefined : socket.protocol),
    close: () => socket.terminate(),
  };
}

/** @param {string} text a frame of the client, whose content-length is filled in */
function withLength(text) {
  return text.replace("{octets}", String(Buffer.byteLength(text.slice(text.indexOf("\n\n") + 2, -1))));
}

/** @param {Conversation} conversation @param {import("../system.mjs").System} system @param {Set<string>} used */
async function play({ transport, lines }, system, used) {
  const [ann, channel, proxy] = await Promise.all([system.person("ann"), system.channel("play"), system.proxy(0)]);
  const names = { token: ann.token, channel, user: ann.user.id, name: ann.user.username };
  const fill = (/** @type {string} */ text) =>
    Object.entries(names).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), text);
  const socket = system.keep(connect(proxy.url, transport));
  await socket.open();
  if (transport === "raw WebSocket") assert.equal(socket.protocol(), "v12.stomp");
  /** @type {Frame[]} */
  let expected = [];
  let answered = 0;
  const compare = async () => {
    await socket.until(`${expected.length} frames`, () => socket.frames.length >= answered + expected.length);
    assert.deepEqual(inOrder(socket.frames.slice(answered).map(received)), inOrder(expected));
    answered = socket.frames.length;
    expected = [];
  };
  for (const line of lines) {
    if ("client" in line) {
      if (expected.length) await compare();
      socket.send(withLength(fill(line.client)));
    } else if ("server" in line) {
      const frame = parse(fill(line.server));
      expected.push(line.changes ? changed(frame, line.changes, used) : frame);
    } else if ("added" in line) {
      used.add(line.reason);
      expected.push(parse(fill(line.added)));
    } else {
      // A frame that we omit is not expected, but its reason must be declared.
      used.add(line.reason);
      if ("ours" in line) {
        await socket.until("close", () => socket.ended.code !== undefined);
        assert.notEqual(line.ours, line.closed);
        assert.equal(socket.ended.code, line.ours);
        if (transport !== "raw WebSocket") assert.equal(socket.ended.sockjs, line.ours);
      }
    }
  }
  await compare();
}

/** @type {Set<string>} */
const used = new Set();

/** @type {import("../run.mjs").Scenario[]} */
export const transcript = [
  ...conversations.map((conversation) => /** @type {import("../run.mjs").Scenario} */ ([
    `The same answers as Spring except for declared differences: ${conversation.name}`,
    (system) => play(conversation, system, used),
  ])),
  [
    "Every declared difference from Spring occurs",
    async () => assert.deepEqual([...used].sort(), Object.keys(differences).sort()),
  ],
];
