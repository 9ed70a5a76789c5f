// Faults that each store can have.

/** @typedef {import("../system.mjs").Store} Store */
/** @typedef {import("./step.mjs").Step} Step */

/** Stops the processes of a store: connections stay, nothing answers. @param {Store} store @returns {Step} */
export const stopStore = (store) => async ({ system }) => {
  await system.signal(store, "SIGSTOP");
  return { heal: () => system.signal(store, "SIGCONT") };
};

/** Kills a store until the fault is healed; it keeps its data. @param {Store} store @returns {Step} */
export const killStore = (store) => async ({ system }) => {
  await system.end(store);
  return { heal: () => system.startPart(store) };
};

/** Restarts a store at once; it keeps its data. @param {Store} store @param {NodeJS.Signals} signal @returns {Step} */
export const restartStore = (store, signal) => async ({ system }) => {
  await system.end(store, signal);
  await system.startPart(store);
};
