// The catalogue of faults.
import { slowReaders, reconnectCrowd } from "./steps/clients.mjs";
import { fillDisk } from "./steps/files.mjs";
import * as kafka from "./steps/kafka.mjs";
import { cut, delay, stall, stallNode } from "./steps/network.mjs";
import * as nginx from "./steps/nginx.mjs";
import { exhaustDescriptors, jumpClock, killAllNodes, killNode, oldVersion, rollNodes, stopNode } from "./steps/nodes.mjs";
import * as postgres from "./steps/postgres.mjs";
import * as redis from "./steps/redis.mjs";
import { all } from "./steps/step.mjs";
import { killStore, restartStore, stopStore } from "./steps/stores.mjs";

/**
 * @typedef {object} Fault
 * @property {string} name
 * @property {string} what for the table
 * @property {import("./steps/step.mjs").Step} step
 * @property {number} holdMs from the injection to the heal
 * @property {boolean} isCore
 * @property {string[]} parts that it needs for itself: two faults of one part do not overlap
 * @property {boolean} isSmooth whether the others must not notice it: the latency stays normal during the fault
 */

/**
 * @param {string} name
 * @param {string} what
 * @param {string[]} parts
 * @param {number} holdMs
 * @param {import("./steps/step.mjs").Step} step
 * @returns {Fault}
 */
const fault = (name, what, parts, holdMs, step) => ({ name, what, parts, holdMs, step, isCore: false, isSmooth: false });

/** @param {Fault} fault @returns {Fault} */
const core = (fault) => ({ ...fault, isCore: true });
/** @param {Fault} fault @returns {Fault} */
const smooth = (fault) => ({ ...fault, isSmooth: true });

/** @type {Fault[]} */
export const FAULTS = [
  core(smooth(fault("calm", "nothing", [], 1_000, async () => {}))),
  core(fault("node-kill", "one node killed, started after 3 s", ["nodes"], 3_000, killNode)),
  core(fault("node-kill-all", "all nodes killed, started after 2 s", ["nodes"], 2_000, killAllNodes)),
  core(fault("node-rolling", "the nodes restarted one by one (SIGTERM)", ["nodes"], 0, rollNodes)),
  core(fault("node-stop", "one node stopped (SIGSTOP) for 8 s", ["nodes"], 8_000, stopNode)),
  fault("node-descriptors", "one node without a free descriptor for 10 s", ["nodes"], 10_000, exhaustDescriptors),
  fault("node-clock", "the clock of one node an hour ahead for 10 s", ["nodes"], 10_000, jumpClock),
  fault("node-versions", "one node of BACKEND_OLD for 10 s", ["nodes"], 10_000, oldVersion),
  core(fault("postgres-restart", "PostgreSQL restarted, immediate", ["postgres"], 0, restartStore("postgres", "SIGQUIT"))),
  fault("postgres-down", "PostgreSQL killed, started after 10 s", ["postgres"], 10_000, killStore("postgres")),
  core(fault("postgres-stop", "PostgreSQL stopped (SIGSTOP) for 6 s", ["postgres"], 6_000, stopStore("postgres"))),
  fault("postgres-lock", "the table of messages locked for 6 s", ["postgres"], 6_000, postgres.lockMessages),
  fault("postgres-read-only", "every transaction read-only for 6 s", ["postgres"], 6_000, postgres.readOnly),
  core(fault("postgres-failover", "open sessions read-only for ever, new ones not, after 3 s", ["postgres"], 3_000, postgres.failOver)),
  fault("redis-restart", "Redis killed and restarted", ["redis"], 0, restartStore("redis", "SIGKILL")),
  fault("redis-down", "Redis killed, started after 10 s", ["redis"], 10_000, killStore("redis")),
  core(fault("redis-stop", "Redis stopped (SIGSTOP) for 6 s", ["redis"], 6_000, stopStore("redis"))),
  core(fault("redis-flushall", "Redis emptied (FLUSHALL)", ["redis"], 0, redis.flushAll)),
  fault("redis-script-flush", "Redis without its scripts (SCRIPT FLUSH)", ["redis"], 0, redis.flushScripts),
  fault("redis-read-only", "Redis a replica without a master for 6 s", ["redis"], 6_000, redis.readOnly),
  fault("redis-full", "Redis without memory for writes for 6 s", ["redis"], 6_000, redis.outOfMemory),
  core(fault("redis-failover", "a replica of Redis takes over behind the same address", ["redis"], 0, redis.failOver)),
  fault("kafka-restart", "Kafka killed and restarted", ["kafka"], 0, restartStore("kafka", "SIGKILL")),
  core(fault("kafka-down", "Kafka killed, started after 15 s", ["kafka"], 15_000, killStore("kafka"))),
  fault("kafka-stop", "Kafka stopped (SIGSTOP) for 8 s", ["kafka"], 8_000, stopStore("kafka")),
  core(fault("kafka-empty", "Kafka killed, started without data after 3 s", ["kafka"], 3_000, kafka.empty)),
  fault("kafka-topics", "all topics deleted", ["kafka"], 0, kafka.deleteTopics),
  core(fault("kafka-records", "records repeated, late, in the opposite order, and not readable", ["kafka"], 0, all(kafka.repeatRecords, kafka.poisonRecords))),
  fault("nginx-reload", "nginx reloaded three times", ["nginx"], 0, nginx.reload),
  core(fault("nginx-kill", "nginx killed, started after 1 s", ["nginx"], 1_000, nginx.kill)),
  ...["postgres", "redis", "kafka"].flatMap((name) => {
    const store = /** @type {import("./system.mjs").Store} */ (name);
    return [
      fault(`delay-${store}`, `100 ms between one node and ${store} for 6 s`, [`net-${store}`], 6_000, delay(store, 100)),
      fault(`cut-${store}`, `one node's connections to ${store} reset for 8 s`, [`net-${store}`], 8_000, cut(store)),
      fault(`stall-${store}`, `one node's connections to ${store} half-open for 15 s`, [`net-${store}`], 15_000, stall(store)),
    ];
  }),
  core(fault("stall-node", "one node's connections to all stores half-open for 8 s", ["net-postgres", "net-redis", "net-kafka"], 8_000, stallNode)),
  core(smooth(fault("slow-readers", "8 clients read nothing of a busy room for 8 s", [], 8_000, slowReaders))),
  core(fault("crowd", "300 more clients, whose connections nginx ends at once", ["nginx"], 0, reconnectCrowd)),
  fault("disk-full", "no space for files for 5 s", [], 5_000, fillDisk),
];

/** Why this machine cannot run the fault, if it cannot. @param {Fault} fault */
export function obstacle({ name }) {
  if (name === "node-versions" && !process.env.BACKEND_OLD) return "BACKEND_OLD is not set";
  if (name === "disk-full" && process.getuid?.() !== 0) return "only root can mount a file system";
  return undefined;
}
