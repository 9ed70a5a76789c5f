// The examples of docs/protocol.md, as they stand there.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** @typedef {import("../system.mjs").System} System */

const run = promisify(execFile);
const folder = fileURLToPath(new URL("..", import.meta.url));
const documentUrl = new URL("../../../docs/protocol.md", import.meta.url);
/** The first example in Go also compiles Go's standard library. */
const TIMEOUT_MS = /** @type {Record<string, number>} */ ({ go: 300_000 });

/** What the document leaves to the reader. */
const READER = `
import { WebSocket as ws } from "ws";
globalThis.WebSocket ??= ws; // Node 20 has none
async function signIn(base) {
  const body = JSON.stringify({ username: process.env.CHAT_USERNAME, password: process.env.CHAT_PASSWORD });
  const answer = await fetch(base + "/api/auth/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const token = await answer.json();
  const user = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString()).userDto;
  return { token, user, channelId: process.env.CHAT_CHANNEL };
}
function fetchListsAgain() {}
function show() {}
`;

/**
 * Runs each example in a language with a command. Each must end by itself without an error.
 *
 * @param {System} system
 * @param {string} language
 * @param {(file: string) => [string, string[]]} command
 * @param {string} prelude
 * @returns {Promise<string[]>} the outputs
 */
async function examples(system, language, command, prelude = "") {
  const text = await readFile(documentUrl, "utf8");
  const codes = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map(([, code]) => code);
  assert.ok(codes.length > 0, `examples in ${language}`);
  const username = system.unique("reader");
  await system.personNamed(username);
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    CHAT_USERNAME: username,
    CHAT_PASSWORD: system.password,
    CHAT_CHANNEL: await system.channel("examples"),
  };
  // Below the folder with the libraries.
  const work = await mkdtemp(`${folder}examples-`);
  try {
    const outputs = [];
    for (const [index, code] of codes.entries()) {
      const file = `${work}/${index}.${language === "js" ? "mjs" : language}`;
      await writeFile(file, prelude + code.replaceAll("http://localhost:3000", system.base.origin));
      const { stdout } = await run(...command(file), { cwd: work, env, timeout: TIMEOUT_MS[language] ?? 20_000 });
      outputs.push(stdout);
    }
    return outputs;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** @type {[string, (system: System) => Promise<void>][]} */
export const documents = [
  [
    "the examples for the shell in docs/protocol.md work",
    async (system) => {
      const [output] = await examples(system, "sh", (file) => ["bash", ["-eu", file]]);
      assert.match(output, /"role":"USER"/);
    },
  ],
  [
    "the examples in Python in docs/protocol.md work",
    async (system) => {
      const python = fileURLToPath(new URL("../../../.run/python/bin/python", import.meta.url));
      const outputs = await examples(system, "py", (file) => [python, [file]]);
      assert.deepEqual(
        outputs.map((output) => output.trim()),
        ["received: hello", "received: sync"],
      );
    },
  ],
  [
    "the examples with stompjs, sockjs-client and eventsource in docs/protocol.md work",
    async (system) => {
      const outputs = await examples(system, "js", (file) => [process.execPath, [file]], READER);
      assert.deepEqual(
        outputs.map((output) => output.trim()),
        ["received: hello", "received: CONNECTED", "received: sync"],
      );
    },
  ],
];

/** The same, with toolchains that take long to install. @type {[string, (system: System) => Promise<void>][]} */
export const languages = [
  [
    "the example in Java in docs/protocol.md works",
    async (system) => {
      const [output] = await examples(system, "java", (file) => ["java", [file]]);
      assert.equal(output, "received: hello\nreceived: sync\n");
    },
  ],
  [
    "the example in Go in docs/protocol.md works",
    async (system) => {
      const [output] = await examples(system, "go", (file) => ["go", ["run", file]]);
      assert.equal(output, "received: hello\nreceived: sync\n");
    },
  ],
];
