// Two people in two browsers, each sent by nginx to another node, and an administrator in a third.
//
//   BASE_URL=http://127.0.0.1:3000 ADMIN_USERNAME=… ADMIN_PASSWORD=… node run.mjs
//
// The system must be running; its database need not be empty. Screenshots go to .run/screenshots/.
import { mkdir, readdir, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { Person } from "./browser.mjs";
import { forward, twoSources } from "./forwarder.mjs";
import { appearance } from "./scenarios/appearance.mjs";
import { conversations } from "./scenarios/conversations.mjs";
import { files } from "./scenarios/files.mjs";
import { interruptions } from "./scenarios/interruptions.mjs";
import { notifications } from "./scenarios/notifications.mjs";
import { sessions } from "./scenarios/sessions.mjs";
import { text } from "./scenarios/text.mjs";
import { typing } from "./scenarios/typing.mjs";

const LIMIT_MS = 90_000;
const base = new URL(process.env.BASE_URL ?? "http://127.0.0.1:3000");
const pictures = process.env.SCREENSHOTS ?? fileURLToPath(new URL("../../.run/screenshots/", import.meta.url));

/**
 * @typedef {object} Stage what the scenarios share, in the order they are listed
 * @property {Person} ann
 * @property {Person} ben
 * @property {Person} admin
 * @property {Awaited<ReturnType<typeof forward>>} bensLine
 * @property {URL} base
 * @property {string} password of everybody but the administrator
 * @property {string} adminPassword
 * @property {string} run tells this run's names from those of others
 * @property {string} channel the name of the channel this run talks in
 * @property {(person: Person, name: string, options?: object) => Promise<void>} picture
 * @property {(name: string, options?: object) => Promise<Person>} newPerson
 *
 * @typedef {[sentence: string, run: (stage: Stage) => Promise<void>]} Scenario
 */

let passed = 0;
/** @type {string[]} */
const failed = [];
/** @type {Person[]} */
const people = [];
/** @type {{close(): void}[]} */
const lines = [];

/** @returns {Promise<Stage>} */
async function setStage() {
  const adminName = process.env.ADMIN_USERNAME;
  const adminPassword = process.env.ADMIN_PASSWORD;
  if (!adminName || !adminPassword) throw new Error("ADMIN_USERNAME and ADMIN_PASSWORD must be set");
  await mkdir(pictures, { recursive: true });
  for (const file of await readdir(pictures)) if (file.startsWith("failed-")) await rm(join(pictures, file));
  const sources = await twoSources(base);
  console.log(sources.map(({ source, node }) => `${source} is answered by ${node}`).join(", "));
  const [annsLine, bensLine] = await Promise.all(sources.map(({ source }) => forward(base, source)));
  lines.push(annsLine, bensLine);
  const run = randomBytes(3).toString("hex");
  /** @param {string} name @param {string} url @param {object} [options] */
  const open = async (name, url, options) => {
    const person = await Person.open(name, url, options);
    people.push(person);
    return person;
  };
  return {
    ann: await open(`ann-${run}`, annsLine.url),
    ben: await open(`ben-${run}`, bensLine.url),
    admin: await open(adminName, base.href),
    bensLine,
    base,
    password: `pass-${run}`,
    adminPassword,
    run,
    channel: `talk-${run}`,
    picture: async (person, name, options) =>
      void (await person.page.screenshot({ path: join(pictures, `${name}.png`), ...options })),
    newPerson: (name, options) => open(`${name}-${run}`, annsLine.url, options),
  };
}

/** @param {Scenario} scenario @param {Stage} stage */
async function attempt([sentence, run], stage) {
  const started = Date.now();
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  try {
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${LIMIT_MS / 1000} s`)), LIMIT_MS);
    });
    await Promise.race([run(stage), late]);
    passed++;
    console.log(`ok      ${sentence} (${Date.now() - started} ms)`);
  } catch (error) {
    failed.push(sentence);
    console.log(`FAILED  ${sentence}\n${String(/** @type {any} */ (error)?.stack ?? error).replace(/^/gm, "        ")}`);
    for (const { page, name } of people.filter((person) => !person.page.isClosed())) {
      const path = join(pictures, `failed-${failed.length}-${name}.png`);
      await page.screenshot({ path, timeout: 5_000 }).catch(() => {});
    }
  } finally {
    clearTimeout(timer);
  }
}

try {
  const stage = await setStage();
  for (const scenario of [...sessions, ...conversations, ...notifications, ...typing, ...text, ...files, ...interruptions, ...appearance]) {
    const before = failed.length;
    await attempt(scenario, stage);
    // Without the system every other scenario would only wait and fail.
    if (failed.length > before) await fetch(new URL("/api/health/live", base));
  }
} catch (error) {
  failed.push("the rest");
  console.error("The system cannot be used:", error);
} finally {
  for (const person of people) await person.close().catch(() => {});
  for (const line of lines) line.close();
}
console.log(`${passed} passed, ${failed.length} failed`);
process.exit(failed.length ? 1 : 0);
