// The running system with the client libraries that others use.
//
//   eval "$(dev/stack env test)"; eval "$(dev/nodes env test)"; node run.mjs waiting | talking | breaking
//
// waiting: long silences, while others use the processors; talking: what is said and heard; breaking: nodes die and Redis
// forgets, so nobody else may use the system. The nodes need a MESSAGE_RATE of thousands.
import { Stage } from "./stage.mjs";
import { chromium } from "./scenarios/chromium.mjs";
import { crashes } from "./scenarios/crashes.mjs";
import { edge } from "./scenarios/edge.mjs";
import { events } from "./scenarios/events.mjs";
import { recovery } from "./scenarios/recovery.mjs";
import { silence } from "./scenarios/silence.mjs";
import { transcript } from "./scenarios/transcript.mjs";
import { transports } from "./scenarios/transports.mjs";

/**
 * @typedef {[sentence: string, run: (stage: Stage) => Promise<void>]} Scenario
 * @typedef {{limitMs: number, together: boolean, scenarios: Scenario[]}} Part
 */

/** @type {Record<string, Part>} */
const parts = {
  waiting: { limitMs: 300_000, together: true, scenarios: silence },
  talking: { limitMs: 120_000, together: false, scenarios: [...transcript, ...transports, ...chromium, ...events, ...edge] },
  breaking: { limitMs: 150_000, together: false, scenarios: [...crashes, ...recovery] },
};

let passed = 0;
let failed = 0;

/** @param {Scenario} scenario @param {Stage} stage @param {number} limitMs */
async function attempt([sentence, run], stage, limitMs) {
  const started = Date.now();
  const scene = stage.scene();
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  try {
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${limitMs / 1000} s`)), limitMs);
    });
    await Promise.race([run(scene), late]);
    passed++;
    console.log(`ok      ${sentence} (${Date.now() - started} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${sentence}\n${String(/** @type {any} */ (error)?.stack ?? error).replace(/^/gm, "        ")}`);
  } finally {
    clearTimeout(timer);
    await scene.close();
  }
}

// The libraries say there, with their stacks, what the scenarios expect of them.
console.error = () => {};

try {
  const { limitMs, together, scenarios } = parts[process.argv[2] ?? ""] ?? {};
  if (!scenarios) throw new Error(`one of ${Object.keys(parts)} must be named`);
  const wanted = scenarios.filter(([sentence]) => sentence.includes(process.argv[3] ?? ""));
  const stage = await Stage.set();
  if (together) await Promise.all(wanted.map((scenario) => attempt(scenario, stage, limitMs)));
  else for (const scenario of wanted) await attempt(scenario, stage, limitMs);
} catch (error) {
  failed++;
  console.log("The system cannot be used:", error);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
