// Tests of the running system with stock client libraries, and with the client package.
//
//   eval "$(dev/stack env test)"; eval "$(dev/nodes env test)"; node run.mjs idle | traffic | languages | failures
//
// idle: long silences, which need little processor time; traffic: messages, events and examples of documents; languages: examples
// in Java and Go; failures: nodes die and Redis loses data, so no other test may use the system. The nodes need a MESSAGE_RATE of thousands.
import { System } from "./system.mjs";
import { chromium } from "./scenarios/chromium.mjs";
import { crashes } from "./scenarios/crashes.mjs";
import { documents, languages } from "./scenarios/documents.mjs";
import { edge } from "./scenarios/edge.mjs";
import { events } from "./scenarios/events.mjs";
import { recovery } from "./scenarios/recovery.mjs";
import { silence } from "./scenarios/silence.mjs";
import { traceparent } from "./scenarios/traceparent.mjs";
import { transcript } from "./scenarios/transcript.mjs";
import { transports } from "./scenarios/transports.mjs";
import { typescript } from "./scenarios/typescript.mjs";

/**
 * @typedef {[name: string, run: (system: System) => Promise<void>]} Scenario
 * @typedef {{limitMs: number, concurrent: boolean, scenarios: Scenario[]}} Part
 */

/** @type {Record<string, Part>} */
const parts = {
  idle: { limitMs: 300_000, concurrent: true, scenarios: silence },
  traffic: { limitMs: 120_000, concurrent: false, scenarios: [...transcript, ...transports, ...chromium, ...events, ...edge, ...traceparent, ...documents, ...typescript] },
  languages: { limitMs: 360_000, concurrent: false, scenarios: languages },
  failures: { limitMs: 150_000, concurrent: false, scenarios: [...crashes, ...recovery] },
};

let passed = 0;
let failed = 0;

/** @param {Scenario} scenario @param {System} system @param {number} limitMs */
async function attempt([name, run], system, limitMs) {
  const started = Date.now();
  const scope = system.scope();
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  try {
    const timeout = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${limitMs / 1000} s`)), limitMs);
    });
    await Promise.race([run(scope), timeout]);
    passed++;
    console.log(`ok      ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${String(/** @type {any} */ (error)?.stack ?? error).replace(/^/gm, "        ")}`);
  } finally {
    clearTimeout(timer);
    await scope.close();
  }
}

// Libraries print errors there that the scenarios provoke.
console.error = () => {};

try {
  const { limitMs, concurrent, scenarios } = parts[process.argv[2] ?? ""] ?? {};
  if (!scenarios) throw new Error(`usage: run.mjs ${Object.keys(parts).join(" | ")} [NAME]`);
  const wanted = scenarios.filter(([name]) => name.includes(process.argv[3] ?? ""));
  const system = await System.connect();
  if (concurrent) await Promise.all(wanted.map((scenario) => attempt(scenario, system, limitMs)));
  else for (const scenario of wanted) await attempt(scenario, system, limitMs);
} catch (error) {
  failed++;
  console.log("The system is not usable:", error);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
