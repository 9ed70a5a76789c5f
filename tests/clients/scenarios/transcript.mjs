// Plays a transcript of a stock Spring server against ours: every difference must be declared there.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import WebSocket from "ws";

/**
 * @typedef {Record<string, [ours: unknown, because: string]>} But
 * @typedef {{client: string} | {server: string, but?: But} | {added: string, because: string}
 *   | {"left out": string, because: string} | {closed: number | null, ours: number, because: string}} Line
 * @typedef {{what: string, over: string, lines: Line[]}} Conversation
 * @typedef {{differences: Record<string, string>, conversations: Conversation[]}} Transcript
 *
 * @typedef {{command: string, headers: [string, string][], body: unknown}} Frame
 */

/** @type {Transcript} */
const { differences, conversations } = JSON.parse(await readFile(new URL("../transcript.json", import.meta.url), "utf8"));
const PATIENCE_MS = 20_000;
/** What stands for a value that is another one each time. */
const MASKS = /** @type {const} */ ([
  ["session", "{session}"],
  ["message-id", "{message-id}"],
]);

/** @param {string} text one frame with its NUL @returns {Frame} */
function parse(text) {
  const parts = /^([A-Z]+)\n((?:[^\n]+\n)*)\n([^]*)\0$/.exec(text);
  assert.ok(parts, `no frame: ${JSON.stringify(text)}`);
  const [, command, head, body] = parts;
  const headers = head.split("\n").slice(0, -1).map((line) => /** @type {[string, string]} */ (cut(line)));
  return { command, headers, body: body === "" ? "" : JSON.parse(body) };
}

/** @param {string} line */
function cut(line) {
  const at = line.indexOf(":");
  assert.ok(at > 0, `no header: ${JSON.stringify(line)}`);
  return [line.slice(0, at), line.slice(at + 1)];
}

/** A frame of ours, with what differs from run to run masked. @param {string} text @returns {Frame} */
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
function normal({ command, headers, body }) {
  return { command, headers: headers.map(([name, value]) => `${name}:${value}`).sort(), body };
}

/** What we say where Spring says that. @param {Frame} frame @param {But} but @param {Set<string>} used */
function changed({ command, headers, body }, but, used) {
  const ours = new Map(headers);
  const fields = typeof body === "object" ? { .../** @type {object} */ (body) } : body;
  for (const [name, [value, because]] of Object.entries(but)) {
    used.add(because);
    if (name.startsWith("body.")) /** @type {any} */ (fields)[name.slice(5)] = value;
    else ours.set(name, String(value));
  }
  const frame = { command, headers: [...ours], body: fields };
  assert.notDeepEqual(frame, { command, headers, body }, "a declared difference is none");
  return frame;
}

/** Frames of different commands, and those for different subscriptions, overtake each other. @param {Frame[]} frames */
function inOrder(frames) {
  const kind = (/** @type {Frame} */ { command, headers }) =>
    `${command} ${headers.find(([name]) => name === "subscription")?.[1] ?? ""}`;
  return [...frames].sort((a, b) => kind(a).localeCompare(kind(b))).map(normal);
}

/** @param {string} url @param {string} over */
function connect(url, over) {
  const base = url.replace("http", "ws");
  const sockjs = over !== "raw WebSocket";
  const protocols = sockjs ? [] : ["v12.stomp", "v11.stomp", "v10.stomp"];
  const path = sockjs ? `000/${Math.random().toString(36).slice(2)}/websocket` : "websocket";
  const socket = new WebSocket(`${base}/ws/${path}`, protocols);
  /** @type {string[]} */
  const frames = [];
  /** @type {{code?: number, sockjs?: number}} */
  const end = {};
  let opened = !sockjs;
  const take = (/** @type {string} */ text) => void (text !== "\n" && frames.push(text));
  socket.on("message", (data) => {
    const text = String(data);
    if (!sockjs) return take(text);
    assert.equal(text === "o", !opened, `${text} in its place`);
    if (!opened) opened = true;
    else if (text[0] === "a") for (const one of JSON.parse(text.slice(1))) take(one);
    else [end.sockjs] = JSON.parse(text.slice(1));
  });
  socket.on("close", (code) => (end.code = code));
  /** @param {string} what @param {() => boolean} holds */
  const until = async (what, holds) => {
    const deadline = Date.now() + PATIENCE_MS;
    while (!holds()) {
      if (Date.now() > deadline) throw new Error(`not in time: ${what}; there came ${JSON.stringify(frames)}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  return {
    frames,
    end,
    until,
    open: () => until("open", () => opened && socket.readyState === WebSocket.OPEN),
    say: (/** @type {string} */ text) => socket.send(sockjs ? JSON.stringify([text]) : text),
    protocol: () => (sockjs ? undefined : socket.protocol),
    close: () => socket.terminate(),
  };
}

/** @param {string} text what the client says, with its octets counted */
function counted(text) {
  return text.replace("{octets}", String(Buffer.byteLength(text.slice(text.indexOf("\n\n") + 2, -1))));
}

/** @param {Conversation} conversation @param {import("../stage.mjs").Stage} stage @param {Set<string>} used */
async function play({ over, lines }, stage, used) {
  const [ann, channel, line] = await Promise.all([stage.person("ann"), stage.channel("play"), stage.line(0)]);
  const names = { token: ann.token, channel, user: ann.user.id, name: ann.user.username };
  const fill = (/** @type {string} */ text) =>
    Object.entries(names).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), text);
  const socket = stage.keep(connect(line.url, over));
  await socket.open();
  if (over === "raw WebSocket") assert.equal(socket.protocol(), "v12.stomp");
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
      socket.say(counted(fill(line.client)));
    } else if ("server" in line) {
      const frame = parse(fill(line.server));
      expected.push(line.but ? changed(frame, line.but, used) : frame);
    } else if ("added" in line) {
      used.add(line.because);
      expected.push(parse(fill(line.added)));
    } else {
      // What we leave out is not expected; but its reason must be there.
      used.add(line.because);
      if ("ours" in line) {
        await socket.until("the end", () => socket.end.code !== undefined);
        assert.notEqual(line.ours, line.closed);
        assert.equal(socket.end.code, line.ours);
        if (over !== "raw WebSocket") assert.equal(socket.end.sockjs, line.ours);
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
    `As Spring answers, so do we, but for what is declared: ${conversation.what}`,
    (stage) => play(conversation, stage, used),
  ])),
  [
    "Every difference from Spring is declared with its reason, and none without need",
    async () => assert.deepEqual([...used].sort(), Object.keys(differences).sort()),
  ],
];
