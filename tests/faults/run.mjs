// Faults under load, and a check of what the clients saw. dev/faults starts the stores and calls it.
//
//   node run.mjs core | all | NAME… [--busy] [--write-table]
//   node run.mjs soak MINUTES | round
//
// SEED: the seed, else a random one. A round is one to three random faults at once; a soak is rounds with the seeds SEED,
// SEED + 1, …. --busy: other programs slow the machine, so the latency during a fault is not judged. BACKEND: the program of the nodes; BACKEND_OLD: an older one.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { FAULTS, obstacle } from "./faults.mjs";
import { Person } from "./person.mjs";
import { Random } from "./random.mjs";
import { columns, runFault } from "./runner.mjs";
import { NODES, STORES, System, folder } from "./system.mjs";
import { writeTable } from "./table.mjs";

/** @typedef {import("./faults.mjs").Fault} Fault */
/** @typedef {import("./runner.mjs").Result} Result */

const PEOPLE = 16;
/** Violations of one kind that are printed; the file has all. */
const PRINTED = 20;
/** What nodes may have more at the end than at the begin: buffers that the allocator keeps, idle connections of pools. */
const MORE_KIB = 64 * 1024;
const MORE_DESCRIPTORS = 40;
/** Time for closed connections to go: nginx keeps idle ones to the nodes for 15 s. */
const COOL_DOWN_MS = 30_000;

const flags = process.argv.slice(2).filter((arg) => arg.startsWith("--"));
const args = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const isBusy = flags.includes("--busy");
const writesTable = flags.includes("--write-table");
const seed = Number(process.env.SEED || Math.floor(Math.random() * 1e6));
const run = Math.random().toString(36).slice(2, 6);

/** The seed of one fault, which does not depend on the faults before it. @param {number} seed @param {string} name */
const seedOf = (seed, name) => [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16_777_619), seed ^ 2_166_136_261) >>> 0;

/** One to three faults that overlap. @param {number} seed @returns {Fault} */
function randomRound(seed) {
  const random = new Random(seed);
  /** @type {Fault[]} */
  const chosen = [];
  const wanted = random.integer(1, 3);
  for (const fault of random.shuffled(FAULTS.filter((fault) => fault.name !== "calm" && !obstacle(fault)))) {
    const taken = chosen.flatMap(({ parts }) => parts);
    if (chosen.length < wanted && !fault.parts.some((part) => taken.includes(part))) chosen.push(fault);
  }
  const plan = chosen.map((fault) => ({ fault, startMs: random.integer(0, 4_000), holdMs: random.integer(0, Math.max(2_000, 1.5 * fault.holdMs)) }));
  return {
    name: `round-${seed}`,
    what: plan.map(({ fault, startMs, holdMs }) => `${fault.name} at ${startMs} ms for ${holdMs} ms`).join(", "),
    parts: [],
    holdMs: 0,
    isCore: false,
    isSmooth: false,
    step: async (context) => {
      /** @type {(() => unknown)[]} */
      const tidies = [];
      const works = plan.map(async ({ fault, startMs, holdMs }, index) => {
        await sleep(startMs);
        // What was calm is measured before the first fault.
        const measureCalm = async () => {};
        const own = { ...context, name: `${context.name}-${index}`, random: new Random(seedOf(seed, fault.name)), measureCalm };
        const undo = (await fault.step(own)) ?? {};
        if (undo.tidy) tidies.push(undo.tidy);
        await sleep(holdMs);
        await undo.heal?.();
      });
      const ends = await Promise.allSettled(works);
      for (const end of ends) if (end.status === "rejected") context.violate(String(end.reason?.stack ?? end.reason));
      return {
        tidy: async () => {
          for (const tidy of tidies) await tidy();
        },
      };
    },
  };
}

/** @param {Result} result @param {string} again */
async function report(result, again) {
  const texts = columns(result).map(([name, value]) => `${name} ${value}`);
  const load = `calm p99 ${result.calmMs.toFixed(0)} ms, machine load ${result.machineLoad.toFixed(1)}`;
  console.log(`${result.fault.name.padEnd(18)} ${texts.join("  ")}  (${[load, ...result.notes].join(", ")})`);
  const all = [...result.others, ...result.violations];
  if (!all.length) return;
  const kinds = new Set(all.map(({ kind }) => kind));
  for (const kind of kinds) {
    const list = all.filter((violation) => violation.kind === kind);
    for (const { text } of list.slice(0, PRINTED)) console.log(`    VIOLATION ${kind}: ${text}`);
    if (list.length > PRINTED) console.log(`    VIOLATION ${kind}: ${list.length - PRINTED} more`);
  }
  await mkdir(`${folder}/histories`, { recursive: true });
  const file = `${folder}/histories/${result.fault.name}-${result.seed}`;
  await writeFile(`${file}.json`, JSON.stringify({ violations: all, history: result.history }));
  // A node that starts again overwrites its log.
  for (const node of NODES) await cp(`${folder}/logs/node-${node}.log`, `${file}-node-${node}.log`);
  console.log(`    the history and the logs: ${file}*; again: ${again}`);
}

/**
 * Starts stores and nginx if they do not run, and every node anew, so that a fault does not inherit the state that the last one left.
 *
 * @param {System} system
 */
async function renew(system) {
  console.log("    the nodes are restarted");
  for (const part of [...STORES, "nginx"]) if (!(await system.pid(part))) await system.startPart(part);
  system.settings.clear();
  for (const proxy of Object.values(system.proxies).flat()) proxy.restore();
  for (const node of NODES) if (await system.pid(`node-${node}`)) await system.end(`node-${node}`);
  for (const node of NODES) await system.startPart(`node-${node}`);
}

/** Waits until the nodes need no more than before. @param {System} system @param {Awaited<ReturnType<System["resources"]>>} before */
async function compareResources(system, before) {
  const deadline = Date.now() + COOL_DOWN_MS;
  for (;;) {
    const after = await system.resources();
    const isMore = after.map(({ kib, descriptors }, index) => {
      const base = before[index];
      return kib > base.kib + MORE_KIB || descriptors > base.descriptors + MORE_DESCRIPTORS;
    });
    if (isMore.includes(true) && Date.now() < deadline) {
      await sleep(1_000);
      continue;
    }
    printResources(before, after, isMore);
    return isMore.includes(true);
  }
}

/**
 * @param {Awaited<ReturnType<System["resources"]>>} before
 * @param {Awaited<ReturnType<System["resources"]>>} after
 * @param {boolean[]} isMore
 */
function printResources(before, after, isMore) {
  for (const [index, { node, kib, descriptors }] of after.entries()) {
    const base = before[index];
    console.log(
      `node-${node}: ${Math.round(base.kib / 1024)} MiB and ${base.descriptors} descriptors before, ` +
        `${Math.round(kib / 1024)} MiB and ${descriptors} after${isMore[index] ? "    VIOLATION: more than before" : ""}`,
    );
  }
}

/** @param {string[]} names @returns {Fault[]} */
function chosen(names) {
  if (names[0] === "all") return FAULTS;
  if (names[0] === "core") return FAULTS.filter(({ isCore }) => isCore);
  return names.map((name) => {
    const found = FAULTS.find((fault) => fault.name === name);
    if (!found) throw new Error(`there is no fault '${name}', only core, all, soak MINUTES, round, ${FAULTS.map((fault) => fault.name).join(", ")}`);
    return found;
  });
}

/** @param {System} system @returns {AsyncGenerator<Result>} */
async function* runAll(system) {
  const password = `pass-${run}`;
  const admin = await Person.signIn(system.base.href, String(process.env.ADMIN_USERNAME), String(process.env.ADMIN_PASSWORD));
  const people = await Promise.all(
    Array.from({ length: PEOPLE }, (_, number) => Person.signUp(system.sides[number % 3].url, `user${number}-${run}`, password)),
  );
  let number = 0;
  /** @param {Fault} fault @param {number} seed @param {string} again */
  const one = async (fault, seed, again) => {
    const result = await runFault({ system, admin, people, fault, seed, isBusy, name: `${run}-${++number}` });
    await report(result, again);
    if (result.violations.length + result.others.length) await renew(system);
    return result;
  };
  const [kind, minutes] = args;
  if (kind === "soak" || kind === "round") {
    const deadline = Date.now() + 60_000 * Number(minutes ?? 0);
    for (let round = seed; ; round++) {
      const fault = randomRound(round);
      console.log(`round ${round}: ${fault.what}`);
      yield await one(fault, round, `SEED=${round} dev/faults round`);
      if (Date.now() >= deadline) return;
    }
  }
  for (const fault of chosen(args)) {
    const reason = obstacle(fault);
    if (reason) console.log(`${fault.name.padEnd(18)} left out: ${reason}`);
    else yield await one(fault, seedOf(seed, fault.name), `make faults SEED=${seed} FAULT=${fault.name}`);
  }
}

// sockjs-client and kafkajs print what the faults do to their connections.
console.error = () => {};
console.warn = () => {};
process.on("unhandledRejection", (error) => console.log("    unhandled:", error));

if (!["soak", "round"].includes(args[0] ?? "")) chosen(args);
const started = Date.now();
console.log(`seed ${seed}; again: ${args[0] === "soak" ? `make soak MINUTES=${args[1]} SEED=${seed}` : `SEED=${seed} dev/faults ${args.join(" ")}`}`);
const system = new System();
/** @type {Result[]} */
const results = [];
let isWrong = false;
try {
  await system.start();
  const before = await system.resources();
  for await (const result of runAll(system)) results.push(Object.assign(result, { history: undefined }));
  isWrong = results.some(({ violations, others }) => violations.length + others.length);
  isWrong = (await compareResources(system, before)) || isWrong;
  if (writesTable) await writeTable(results, seed);
} catch (error) {
  isWrong = true;
  console.log("The system is not usable:", error);
} finally {
  await system.stop().catch((error) => console.log("The system did not stop:", error));
}
const wrong = results.filter(({ violations, others }) => violations.length + others.length);
console.log(`${results.length} faults in ${Math.round((Date.now() - started) / 1000)} s, ${wrong.length} with violations${wrong.length ? `: ${wrong.map(({ fault }) => fault.name).join(", ")}` : ""}`);
process.exit(isWrong ? 1 : 0);
