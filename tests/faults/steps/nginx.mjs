// nginx reloads, or dies.
import { setTimeout as sleep } from "node:timers/promises";

/** @typedef {import("./step.mjs").Step} Step */

/** @type {Step} */
export async function reload({ system }) {
  for (let time = 0; time < 3; time++) {
    await system.signal("nginx", "SIGHUP");
    await sleep(1_000);
  }
}

/** @type {Step} */
export async function kill({ system }) {
  await system.end("nginx");
  return { heal: () => system.startPart("nginx") };
}
