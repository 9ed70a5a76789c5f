// Redis loses its data or its scripts, turns read-only, is full, or fails over.
import { spawn } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { REPLICA_PORT, folder, until } from "../system.mjs";

/** @typedef {import("./step.mjs").Step} Step */

/** @type {Step} */
export async function flushAll({ system }) {
  await system.redis(["FLUSHALL"]);
}

/** @type {Step} */
export async function flushScripts({ system }) {
  await system.redis(["SCRIPT", "FLUSH"]);
}

/** Makes Redis the replica of a master that does not exist. @type {Step} */
export async function readOnly({ system }) {
  await system.redis(["REPLICAOF", "127.0.0.1", "1"]);
  return { heal: () => system.redis(["REPLICAOF", "NO", "ONE"]) };
}

/** Leaves no memory for writes. @type {Step} */
export async function outOfMemory({ system }) {
  await system.redis(["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
  await system.redis(["CONFIG", "SET", "maxmemory", "1mb"]);
  return { heal: () => system.redis(["CONFIG", "SET", "maxmemory", "0"]) };
}

/**
 * Makes a replica the master, and leads new connections to it. The old master becomes its replica, and keeps the connections
 * that it has.
 *
 * @type {Step}
 */
export async function failOver({ system }) {
  const data = `${folder}/redis-replica`;
  await rm(data, { recursive: true, force: true });
  await mkdir(data, { recursive: true });
  const port = system.proxies.redis[0].target;
  const settings = { port: REPLICA_PORT, dir: data, aclfile: `${folder}/redis.acl`, bind: "127.0.0.1", save: "" };
  const options = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const replica = spawn("redis-server", [...options, "--replicaof", "127.0.0.1", String(port)], { stdio: "ignore" });
  const isInSync = async (/** @type {number} */ port) => /master_link_status:up/.test(await system.redis(["INFO", "replication"], port).catch(() => ""));
  await until("the replica is in sync", () => isInSync(REPLICA_PORT), 20_000);
  /** @param {number} from @param {number} to */
  const failOverTo = async (from, to) => {
    // Waits until the replica has every write.
    await system.redis(["FAILOVER", "TO", "127.0.0.1", String(to)], from);
    await until("the replica is the master", async () => /role:master/.test(await system.redis(["INFO", "replication"], to)), 20_000);
    for (const proxy of system.proxies.redis) proxy.target = to;
  };
  await failOverTo(port, REPLICA_PORT);
  return {
    tidy: async () => {
      await until("the old master is in sync", () => isInSync(port), 20_000);
      await failOverTo(REPLICA_PORT, port);
      replica.kill("SIGKILL");
    },
  };
}
