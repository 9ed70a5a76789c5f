// Runs one fault under load, and decides.
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { check } from "./checker.mjs";
import { WINDOW_MS, latencies, longestDelay, p99, percentile } from "./latency.mjs";
import { Load, SENDS_PER_SECOND } from "./load.mjs";
import { Random } from "./random.mjs";
import { NODES } from "./system.mjs";

const CALM_MS = 3_000;
/** Messages of this time before and after the calm do not count: the first ones, and those that are under way. */
const TAIL_MS = 500;
/** A busy machine may need time to become calm. */
const CALM_TIMEOUT_MS = 30_000;
const MAX_CALM_MS = 1_000;
/** The latency is normal while its 99th percentile is at most twice that of the calm, plus this. */
const SLACK_MS = 50;
const NORMAL_TIMEOUT_MS = 60_000;
const READY_TIMEOUT_MS = 60_000;

/**
 * @typedef {object} Result
 * @property {import("./faults.mjs").Fault} fault
 * @property {number} seed
 * @property {number} acked
 * @property {number} deliveries
 * @property {number} calmMs 99th percentile
 * @property {number} machineLoad load average at the end, of all programs
 * @property {number} longestMs
 * @property {number | undefined} normalMs from the heal to the first normal window
 * @property {import("./checker.mjs").Violation[]} violations
 * @property {{kind: string, text: string}[]} others violations that no history shows
 * @property {string[]} notes
 * @property {import("./history.mjs").History} history
 */

/**
 * @param {object} options
 * @param {import("./system.mjs").System} options.system
 * @param {import("./person.mjs").Person} options.admin
 * @param {import("./person.mjs").Person[]} options.people
 * @param {import("./faults.mjs").Fault} options.fault
 * @param {number} options.seed
 * @param {boolean} options.isBusy whether other programs slow the machine
 * @param {string} options.name unique
 * @returns {Promise<Result>}
 */
export async function runFault({ system, admin, people, fault, seed, isBusy, name }) {
  const random = new Random(seed);
  // Draws of its own: how many it makes depends on the time.
  const load = new Load(system, admin, people, new Random(seed ^ 0x5eed));
  const { history } = load;
  /** @type {Result} */
  const result = {
    fault, seed, acked: 0, deliveries: 0, calmMs: 0, machineLoad: 0, longestMs: 0, normalMs: undefined, violations: [], others: [], notes: [], history,
  };
  const violate = (/** @type {string} */ text) => void result.others.push({ kind: "fault", text });
  const note = (/** @type {string} */ text) => void result.notes.push(text);
  /** @type {import("./steps/step.mjs").Undo} */
  let undo = {};
  let isHealed = false;
  let isJudged = true;
  const started = Date.now();
  try {
    for (const node of NODES) await system.untilReady(node, READY_TIMEOUT_MS);
    await load.open(name);
    load.begin();
    let injected = 0;
    const measureCalm = async () => {
      const began = Date.now();
      do {
        await sleep(CALM_MS);
        injected = Date.now();
        result.calmMs = p99(load, injected - CALM_MS + TAIL_MS, injected - TAIL_MS);
      } while (result.calmMs > MAX_CALM_MS && injected - began < CALM_TIMEOUT_MS);
      if (result.calmMs <= MAX_CALM_MS) return;
      // Other work of the machine hides what the fault does to the latency. What is lost or doubled still counts.
      note(`latency not judged: p99 ${result.calmMs.toFixed(0)} ms before the fault`);
      isJudged = false;
      result.calmMs = MAX_CALM_MS;
    };
    await measureCalm();
    const removals = [sleep(200).then(() => load.removeAny())];
    undo = (await fault.step({ system, load, random, admin, people, name, violate, note, measureCalm })) ?? {};
    const limit = 2 * result.calmMs + SLACK_MS;
    removals.push(sleep(fault.holdMs / 2).then(() => load.removeAny()));
    await sleep(fault.holdMs);
    const held = Date.now();
    isHealed = true;
    await undo.heal?.();
    const healed = Date.now();
    removals.push(sleep(200).then(() => load.removeAny()));
    result.normalMs = await untilNormal(load, limit, healed);
    if (isJudged && result.normalMs === undefined) {
      const now = p99(load, Date.now() - limit - WINDOW_MS, Date.now() - limit);
      violate(`the latency is not normal ${NORMAL_TIMEOUT_MS / 1000} s after the heal: p99 ${now.toFixed(0)} ms, calm ${result.calmMs} ms`);
    }
    if (isJudged && fault.isSmooth && !isBusy) {
      const during = percentile(latencies(load, injected, held - limit), 0.99);
      if (during > limit) violate(`others notice it: p99 ${during.toFixed(0)} ms during the fault, calm ${result.calmMs} ms`);
    }
    await Promise.all(removals);
    const settled = await load.settle();
    if (settled > 2_000) note(`the last notification ${(settled / 1000).toFixed(0)} s after the last message`);
    result.violations = check(history);
    for (const node of NODES) if (!(await system.isReady(node))) violate(`node-${node} is not ready at the end`);
    for (const part of await system.crashed()) violate(`${part} has ended by itself`);
  } catch (error) {
    violate(String(/** @type {any} */ (error)?.stack ?? error));
  } finally {
    if (!isHealed) await Promise.resolve(undo.heal?.()).catch((error) => violate(String(error)));
    await load.close();
    await Promise.resolve(undo.tidy?.()).catch((error) => violate(String(error)));
  }
  note(`${Math.round((Date.now() - started) / 1000)} s in all`);
  result.acked = [...history.sends.values()].filter(({ outcome }) => outcome === "accepted").length;
  result.deliveries = history.deliveries.length;
  result.machineLoad = loadavg()[0];
  result.longestMs = longestDelay(history);
  return result;
}

/**
 * Waits until the 99th percentile of a window is within the limit.
 *
 * @param {Load} load
 * @param {number} limit in ms
 * @param {number} healed
 * @returns {Promise<number | undefined>} ms from the heal to the begin of that window
 */
async function untilNormal(load, limit, healed) {
  for (;;) {
    await sleep(100);
    const begin = Date.now() - limit - WINDOW_MS;
    if (begin < healed) continue;
    if (begin > healed + NORMAL_TIMEOUT_MS) return undefined;
    const sends = [...load.history.sends.values()].filter(({ at }) => at >= begin && at < begin + WINDOW_MS);
    if (sends.length < (0.7 * SENDS_PER_SECOND * WINDOW_MS) / 1000) continue;
    if (p99(load, begin, begin + WINDOW_MS) <= limit) return begin - healed;
  }
}

/** @param {Result} result @param {...import("./checker.mjs").Kind} kinds */
export const count = ({ violations }, ...kinds) => violations.filter(({ kind }) => kinds.includes(kind)).length;

/** Columns of a result, for the line and for the table. @param {Result} result @returns {[string, string][]} */
export function columns(result) {
  const seconds = (/** @type {number} */ ms) => `${(ms / 1000).toFixed(1)} s`;
  return [
    ["acked", String(result.acked)],
    ["lost", String(count(result, "lost", "undelivered", "SSE lost", "notification lost", "edit lost", "change lost"))],
    ["doubled", String(count(result, "stored twice", "doubled", "SSE doubled", "notification doubled"))],
    ["out of order", String(count(result, "out of order", "SSE out of order", "edit out of order"))],
    ["late rights", String(count(result, "late right"))],
    ["longest delay", seconds(result.longestMs)],
    ["normal after", result.normalMs === undefined ? "never" : seconds(result.normalMs)],
  ];
}
