// The whole system of docker-compose.yml: chat over its published port, more and fewer backends under load, restarts of each store,
// data that outlives the containers, and nothing else to reach. dev/compose calls it.
//
// COMPOSE: the command, "docker compose". The project must not run yet; it is removed at the end, with its volumes.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { check } from "../faults/checker.mjs";
import { Load } from "../faults/load.mjs";
import { Person } from "../faults/person.mjs";
import { Random } from "../faults/random.mjs";
import { proxiesToEach } from "./outer-proxy.mjs";

const top = fileURLToPath(new URL("../../", import.meta.url));
const [program, ...before] = (process.env.COMPOSE || "docker compose").split(" ");
const port = Number(process.env.PORT || 3000);
const base = new URL(`http://127.0.0.1:${port}`);
const PEOPLE = 16;
/** A build from nothing, on a small and busy machine. */
const COMMAND_TIMEOUT_MS = 120 * 60_000;
/** Traffic before and after each change. */
const LOAD_MS = 8_000;
const SECRET = "what outlives the containers";

/** @param {...string} args @returns {Promise<string>} */
async function compose(...args) {
  console.log(`        ${program} ${[...before, ...args].join(" ")}`);
  const options = { cwd: top, timeout: COMMAND_TIMEOUT_MS, maxBuffer: 64 << 20 };
  const { stdout } = await promisify(execFile)(program, [...before, ...args], options);
  return stdout;
}

const up = (/** @type {string[]} */ ...args) => compose("up", "--detach", "--wait", ...args);

/** @param {number} count of backends */
const scale = (count) => up("--no-recreate", "--scale", `backend=${count}`);

const started = Date.now();
/** @param {string} what */
const step = (what) => console.log(`ok      ${what} (after ${Math.round((Date.now() - started) / 1000)} s)`);

/** Tells whether a service reaches a port of another one. @param {string} service @param {string} host @param {number} of */
async function reaches(service, host, of) {
  const connect = `if timeout 5 bash -c '</dev/tcp/${host}/${of}' 2> /dev/null; then echo yes; else echo no; fi`;
  return (await compose("exec", "-T", service, "bash", "-c", connect)).trim().endsWith("yes");
}

/**
 * Runs traffic while something happens, and checks what the clients saw.
 *
 * @param {Person} admin
 * @param {Person[]} people
 * @param {{url: string}[]} sides
 * @param {string} name
 * @param {() => Promise<unknown>} change
 */
async function underLoad(admin, people, sides, name, change) {
  const system = /** @type {import("../faults/system.mjs").System} */ (/** @type {unknown} */ ({ sides }));
  const load = new Load(system, admin, people, new Random(1));
  try {
    await load.open(name);
    load.begin();
    await sleep(LOAD_MS);
    await change();
    await sleep(LOAD_MS);
    await load.settle();
    const violations = check(load.history);
    for (const { kind, text } of violations.slice(0, 20)) console.log(`    VIOLATION ${kind}: ${text}`);
    assert.equal(violations.length, 0, `${name}: ${violations.length} violations`);
    const sends = [...load.history.sends.values()].filter(({ outcome }) => outcome === "accepted");
    step(`${name}: ${sends.length} messages, ${load.history.deliveries.length} deliveries, no violation`);
    return load.history;
  } finally {
    await load.close();
  }
}

/** A user's messages in a channel, without deleted ones. @param {Person} person @param {string} channel @returns {Promise<any[]>} */
const messages = (person, channel) => person.insist((api) => api.messages(channel));

/** @param {Person} person @param {string} file */
async function download(person, file) {
  const headers = { Authorization: `Bearer ${person.api.token}` };
  const answer = await fetch(new URL(`/api/binaryContents/${file}/download`, base), { headers });
  return { status: answer.status, text: await answer.text() };
}

/** @param {string} what @param {() => Promise<boolean>} holds */
async function eventually(what, holds) {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, what);
    await sleep(500);
  }
}

async function main() {
  await up("--build");
  step("the system is built and healthy");
  const page = await fetch(base);
  assert.match(await page.text(), /<script/);
  const sides = await proxiesToEach(base, 3);
  try {
    step("port 3000 serves the web app, and three backends by the address that an outer proxy names");

    const published = [...(await compose("ps")).matchAll(/(\d+)->\d+\/(?:tcp|udp)/g)].map(([, number]) => Number(number));
    assert.deepEqual([...new Set(published)], [port], "published ports");
    for (const [store, number] of /** @type {[string, number][]} */ ([["db", 5432], ["redis", 6379], ["kafka", 9092]])) {
      assert.equal(await reaches("backend", store, number), true, `a backend reaches ${store}`);
      assert.equal(await reaches("reverse-proxy", store, number), false, `the reverse proxy reaches ${store}`);
    }
    const metrics = await fetch(new URL("/metrics", base));
    assert.doesNotMatch(await metrics.text(), /discodeit_ready/);
    step("nothing but the published port can be reached, and only backends reach the stores");

    const run = Math.random().toString(36).slice(2, 8);
    const admin = await Person.signIn(sides[0].url, "admin", process.env.ADMIN_PASSWORD ?? "");
    const people = [];
    for (let number = 0; number < PEOPLE; number++) {
      people.push(await Person.signUp(sides[number % sides.length].url, `person-${run}-${number}`, `pass-${run}`));
    }
    const { id: kept } = await admin.insist((api) => api.createChannel(`kept-${run}`));
    const file = new Blob([SECRET], { type: "text/plain" });
    const message = await people[0].insist((api) => api.post(kept, SECRET, undefined, file));
    const fileId = message.attachments[0].id;
    await eventually("the file is stored", async () => (await download(people[0], fileId)).status === 200);

    const history = await underLoad(admin, people, sides, `scale-${run}`, async () => {
      await scale(5);
      await sleep(LOAD_MS);
      await scale(2);
    });
    await underLoad(admin, people, sides, `stores-${run}`, async () => {
      for (const store of ["db", "redis", "kafka"]) {
        await compose("restart", store);
        await sleep(LOAD_MS);
      }
    });

    await compose("down");
    await assert.rejects(fetch(base), "nothing listens after the end");
    await up();
    step("the system is up again");
    // Sessions are in Redis, so they outlive the containers as well.
    assert.equal((await messages(people[1], kept))[0].content, SECRET);
    assert.deepEqual(await download(people[1], fileId), { status: 200, text: SECRET });
    for (const [room, stored] of history.stored) {
      const { isPrivate, members } = history.rooms.get(room) ?? { isPrivate: false, members: [] };
      const reader = isPrivate ? [admin, ...people].find(({ id }) => members.includes(id)) : admin;
      const newest = (await messages(reader ?? admin, room))[0];
      assert.equal(newest.seq, stored.at(-1)?.seq, `the newest message of ${room}`);
    }
    step("messages, files and sessions are kept");
  } finally {
    for (const side of sides) side.close();
  }
}

let failed = 0;
try {
  await main();
} catch (error) {
  failed = 1;
  console.log(`FAILED  ${String(/** @type {any} */ (error)?.stack ?? error)}`);
  for (const service of ["backend", "reverse-proxy"]) {
    const log = await compose("logs", "--tail", "50", service).catch(String);
    console.log(log.split("\n").slice(-60).join("\n"));
  }
} finally {
  await compose("down", "--volumes").catch((error) => {
    failed = 1;
    console.log(`FAILED  ${error}`);
  });
}
console.log(`${1 - failed} passed, ${failed} failed`);
process.exit(failed);
