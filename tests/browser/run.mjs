// Two users in two browsers, which nginx assigns to different nodes, and an administrator in a third.
//
//   BASE_URL=http://127.0.0.1:3000 ADMIN_USERNAME=… ADMIN_PASSWORD=… node run.mjs [PART…]
//
// PART: only the scenarios of this file, such as "tabs"; those that the others rest on run before. Without a PART, all of them
// run, in two processes with users of their own, because scenarios mostly wait.
//
// The system must be running; its database need not be empty. Screenshots go to .run/screenshots/.
import { fork } from "node:child_process";
import assert from "node:assert/strict";
import { mkdir, readdir, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { Person } from "./browser.mjs";
import { startProxy, distinctSources } from "./proxy.mjs";
import { account } from "./scenarios/account.mjs";
import { administration } from "./scenarios/administration.mjs";
import { accessibility } from "./scenarios/accessibility.mjs";
import { alerts } from "./scenarios/alerts.mjs";
import { appearance } from "./scenarios/appearance.mjs";
import { conversations } from "./scenarios/conversations.mjs";
import { files } from "./scenarios/files.mjs";
import { groups } from "./scenarios/groups.mjs";
import { history } from "./scenarios/history.mjs";
import { http2Scenarios } from "./scenarios/http2.mjs";
import { installable } from "./scenarios/installable.mjs";
import { interruptions } from "./scenarios/interruptions.mjs";
import { keyboard } from "./scenarios/keyboard.mjs";
import { lost } from "./scenarios/lost.mjs";
import { markdown } from "./scenarios/markdown.mjs";
import { notifications } from "./scenarios/notifications.mjs";
import { people as peopleScenarios } from "./scenarios/people.mjs";
import { replies } from "./scenarios/replies.mjs";
import { search } from "./scenarios/search.mjs";
import { sessions } from "./scenarios/sessions.mjs";
import { settings } from "./scenarios/settings.mjs";
import { start } from "./scenarios/start.mjs";
import { surroundings } from "./scenarios/surroundings.mjs";
import { tabs } from "./scenarios/tabs.mjs";
import { typing } from "./scenarios/typing.mjs";
import { unread } from "./scenarios/unread.mjs";
import { unsent } from "./scenarios/unsent.mjs";

const LIMIT_MS = 90_000;
/** Scenarios that others rest on. */
const FOUNDATIONS = new Set([
  "Two users sign up in two browsers, and different nodes serve them",
  "A channel that the administrator creates appears in both lists without a reload",
  "A private conversation is live for both participants and invisible to others",
]);
const base = new URL(process.env.BASE_URL ?? "http://127.0.0.1:3000");
/** @type {Scenario} */
const noErrors = [
  "No page reported an error or violated the content security policy",
  async ({ ann, ben, admin }) => assert.deepEqual([...ann.errors, ...ben.errors, ...admin.errors], []),
];
const screenshots = process.env.SCREENSHOTS ?? fileURLToPath(new URL("../../.run/screenshots/", import.meta.url));

/** Each half runs in a process of its own; they take about the same time. */
const HALVES = [
  { sessions, conversations, groups, account, administration, people: peopleScenarios, history, markdown, notifications, alerts, unread, replies, search, typing, settings, keyboard },
  { accessibility, start, installable, http2: http2Scenarios, files, interruptions, tabs, surroundings, unsent, lost, appearance },
];

/**
 * @typedef {object} Fixture shared state of the scenarios, which run in order
 * @property {Person} ann
 * @property {Person} ben
 * @property {Person} admin
 * @property {Awaited<ReturnType<typeof startProxy>>} annsProxy
 * @property {Awaited<ReturnType<typeof startProxy>>} bensProxy
 * @property {URL} base
 * @property {string} password of every user except the administrator
 * @property {string} adminPassword
 * @property {string} run makes the names of this run unique
 * @property {string} channel the channel of this run
 * @property {(person: Person, name: string, options?: object) => Promise<void>} screenshot
 * @property {(name: string, options?: import("playwright-core").BrowserContextOptions & {before?: () => void, url?: string}) => Promise<Person>} newPerson
 *
 * @typedef {[name: string, run: (fixture: Fixture) => Promise<void>]} Scenario
 */

let passed = 0;
/** @type {string[]} */
const failed = [];
/** @type {Person[]} */
const people = [];
/** @type {{close(): void}[]} */
const proxies = [];
/** The names of the people of one scenario each. */
const names = new Set();

/** @returns {Promise<Fixture>} */
async function setUp() {
  const adminName = process.env.ADMIN_USERNAME;
  const adminPassword = process.env.ADMIN_PASSWORD;
  if (!adminName || !adminPassword) throw new Error("ADMIN_USERNAME and ADMIN_PASSWORD must be set");
  await mkdir(screenshots, { recursive: true });
  const sources = await distinctSources(base);
  console.log(sources.map(({ source, node }) => `${node} answers ${source}`).join(", "));
  const [annsProxy, bensProxy] = await Promise.all(sources.map(({ source }) => startProxy(base, source)));
  proxies.push(annsProxy, bensProxy);
  const run = randomBytes(3).toString("hex");
  /** @param {string} name @param {string} url @param {object} [options] */
  const open = async (name, url, options) => {
    const person = await Person.open(name, url, options);
    people.push(person);
    return person;
  };
  return {
    ann: await open(`ann-${run}`, annsProxy.url),
    ben: await open(`ben-${run}`, bensProxy.url),
    admin: await open(adminName, base.href),
    annsProxy,
    bensProxy,
    base,
    password: `pass-${run}`,
    adminPassword,
    run,
    channel: `talk-${run}`,
    screenshot: async (person, name, options) =>
      void (await person.page.screenshot({ path: join(screenshots, `${name}.png`), ...options })),
    newPerson: (name, { url = annsProxy.url, ...options } = {}) => {
      assert.ok(!names.has(name), `two scenarios call a new person ${name}`);
      names.add(name);
      return open(`${name}-${run}`, url, options);
    },
  };
}

/** @param {Scenario} scenario @param {Fixture} fixture */
async function attempt([name, run], fixture) {
  const started = Date.now();
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  try {
    const timeout = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${LIMIT_MS / 1000} s`)), LIMIT_MS);
    });
    await Promise.race([run(fixture), timeout]);
    passed++;
    console.log(`ok      ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    failed.push(name);
    console.log(`FAILED  ${name}\n${String(/** @type {any} */ (error)?.stack ?? error).replace(/^/gm, "        ")}`);
    for (const { page, name: user } of people.filter((person) => !person.page.isClosed())) {
      const path = join(screenshots, `failed-${fixture.run}-${failed.length}-${user}.png`);
      await page.screenshot({ path, timeout: 5_000 }).catch(() => {});
      // The next scenario begins without this one's dialogs.
      await page.reload({ timeout: 5_000 }).catch(() => {});
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Runs each half in a process of its own. @returns {Promise<boolean>} whether all passed */
async function runHalves() {
  await mkdir(screenshots, { recursive: true });
  for (const file of await readdir(screenshots)) if (file.startsWith("failed-")) await rm(join(screenshots, file));
  const codes = HALVES.map((half) => {
    const child = fork(fileURLToPath(import.meta.url), Object.keys(half), { stdio: "inherit" });
    return new Promise((resolve) => child.on("exit", resolve));
  });
  return (await Promise.all(codes)).every((code) => code === 0);
}

const wanted = process.argv.slice(2);
if (!wanted.length) process.exit((await runHalves()) ? 0 : 1);

try {
  const fixture = await setUp();
  const scenarios = HALVES.flatMap((half) => Object.entries(half)).flatMap(([name, part]) =>
    wanted.includes(name) ? part : part.filter(([title]) => FOUNDATIONS.has(title)),
  );
  for (const scenario of [...scenarios, noErrors]) {
    const before = failed.length;
    await attempt(scenario, fixture);
    // Stops the run when the system is down, because every further scenario would time out.
    if (failed.length > before) await fetch(new URL("/api/health/live", base));
  }
} catch (error) {
  failed.push("the rest");
  console.error("The system is not usable:", error);
} finally {
  for (const person of people) await person.close().catch(() => {});
  for (const proxy of proxies) proxy.close();
}
console.log(`${passed} passed, ${failed.length} failed`);
process.exit(failed.length ? 1 : 0);
