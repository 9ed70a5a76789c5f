// What a step of a fault gets and gives.

/**
 * @typedef {object} Context
 * @property {import("../system.mjs").System} system
 * @property {import("../load.mjs").Load} load
 * @property {import("../random.mjs").Random} random
 * @property {import("../person.mjs").Person} admin
 * @property {import("../person.mjs").Person[]} people
 * @property {string} name unique
 * @property {(text: string) => void} violate reports a violation that only the step can see
 * @property {(text: string) => void} note adds to the line of the fault
 * @property {() => Promise<void>} measureCalm measures the latency before the fault again, after a step has added load
 *
 * @typedef {object} Undo
 * @property {() => unknown} [heal] ends the fault
 * @property {() => unknown} [tidy] runs after the checks
 *
 * @typedef {(context: Context) => Promise<Undo | void>} Step injects a fault
 */

/**
 * Injects the steps in turn; they end in the opposite order.
 *
 * @param {...Step} steps
 * @returns {Step}
 */
export function all(...steps) {
  return async (context) => {
    /** @type {Undo[]} */
    const undos = [];
    for (const step of steps) undos.unshift((await step(context)) ?? {});
    return {
      heal: async () => {
        for (const { heal } of undos) await heal?.();
      },
      tidy: async () => {
        for (const { tidy } of undos) await tidy?.();
      },
    };
  };
}
