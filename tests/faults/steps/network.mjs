// The connections of one node to one store.
import { NODES } from "../system.mjs";

/** @typedef {import("../system.mjs").Store} Store */
/** @typedef {import("./step.mjs").Step} Step */

/** @param {import("./step.mjs").Context} context @param {Store} store */
const proxyOfAny = ({ system, random }, store) => system.proxies[store][random.pick(NODES) - 1];

/** Nothing is refused, and nothing comes. @param {Store} store @returns {Step} */
export const stall = (store) => async (context) => {
  const proxy = proxyOfAny(context, store);
  proxy.stall();
  return { heal: () => proxy.restore() };
};

/** Every connection is reset. @param {Store} store @returns {Step} */
export const cut = (store) => async (context) => {
  const proxy = proxyOfAny(context, store);
  proxy.cut();
  return { heal: () => proxy.restore() };
};

/** Each piece comes later. @param {Store} store @param {number} ms @returns {Step} */
export const delay = (store, ms) => async (context) => {
  const proxy = proxyOfAny(context, store);
  proxy.delay(ms);
  return { heal: () => proxy.restore() };
};

/** One node reaches no store at all. @type {Step} */
export async function stallNode({ system, random }) {
  const node = random.pick(NODES);
  const proxies = Object.values(system.proxies).map((list) => list[node - 1]);
  for (const proxy of proxies) proxy.stall();
  return { heal: () => proxies.forEach((proxy) => proxy.restore()) };
}
