// The system under test, as dev/stack and dev/nodes run it: its processes, its stores, and the proxies in between.
import { execFile, spawn } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Kafka, logLevel } from "kafkajs";
import { distinctSources, startProxy } from "../browser/proxy.mjs";
import { StoreProxy } from "./store-proxy.mjs";

const run = promisify(execFile);
export const top = fileURLToPath(new URL("../../", import.meta.url));
export const folder = `${top}.run/faults`;
const pids = `${folder}/pids`;

export const NODES = [1, 2, 3];
/** @typedef {"postgres" | "redis" | "kafka"} Store */
/** @type {Store[]} */
export const STORES = ["postgres", "redis", "kafka"];
/** As in dev/stack. @type {Record<Store, number>} */
const STORE_PORTS = { postgres: 31432, redis: 31379, kafka: 31092 };
/** The second Redis, for failovers. */
export const REPLICA_PORT = 31380;
export const NGINX_PORT = 31000;

/** @param {number} node */
export const nodePort = (node) => 31080 + node;

/** Limits of one user would limit the load, which few users make; heart-beats find a silent node within seconds. */
const SETTINGS = {
  MESSAGE_RATE: "100000",
  REQUEST_RATE: "100000",
  REQUESTS_PER_USER: "100",
  CONNECTIONS_PER_USER: "1000",
  PRIVATE_CHANNELS_PER_USER: "100000",
  INVITATIONS_PER_USER: "100000",
  INVITATIONS_PER_PAIR: "100000",
  SESSIONS_PER_USER: "100",
  ACCESS_TOKEN_TTL: "1d",
  HEART_BEAT: "2s",
  DRAIN_SPREAD: "2s",
};

export class System {
  constructor() {
    this.base = new URL(`http://127.0.0.1:${NGINX_PORT}`);
    this.kafka = new Kafka({ clientId: "faults", brokers: [`127.0.0.1:${STORE_PORTS.kafka}`], logLevel: logLevel.NOTHING });
    /** Proxies of each store, one for each node. @type {Record<Store, StoreProxy[]>} */
    this.proxies = {
      postgres: NODES.map((node) => new StoreProxy(31210 + node, STORE_PORTS.postgres)),
      redis: NODES.map((node) => new StoreProxy(31220 + node, STORE_PORTS.redis)),
      // The broker has a listener for each proxy.
      kafka: NODES.map((node) => new StoreProxy(31230 + node, 31330 + node)),
    };
    /** Proxies of clients, each with an address that nginx assigns to another node. @type {{url: string, node: string, close(): void}[]} */
    this.sides = [];
    /** Names of processes that a fault has ended. @type {Set<string>} */
    this.ended = new Set();
    /** Environment of single nodes. @type {Map<number, Record<string, string>>} */
    this.settings = new Map();
  }

  /** Starts the nodes behind the proxies; the stores run already. */
  async start() {
    const proxies = Object.values(this.proxies).flat();
    await Promise.all(proxies.map((proxy) => proxy.listen()));
    await this.dev("nodes", ["start", "faults"]);
    const sources = await distinctSources(this.base, NODES.length);
    for (const { source, node } of sources.toSorted((a, b) => a.node.localeCompare(b.node))) {
      this.sides.push(Object.assign(await startProxy(this.base, source), { node }));
    }
  }

  async stop() {
    for (const side of this.sides) side.close();
    await this.dev("nodes", ["stop", "faults"]);
    for (const proxy of Object.values(this.proxies).flat()) proxy.close();
  }

  /** @param {"nodes" | "stack"} script @param {string[]} args @param {Record<string, string>} [settings] */
  async dev(script, args, settings = {}) {
    return run(`${top}dev/${script}`, args, { env: { ...process.env, ...SETTINGS, ...settings } });
  }

  // ---- processes -------------------------------------------------------------------------------------------------

  /** The pid of a part that runs. @param {string} name @returns {Promise<number | undefined>} */
  async pid(name) {
    const recorded = await readFile(`${pids}/${name}`, "utf8").catch(() => "");
    const [pid, since] = recorded.trim().split(" ");
    const found = pid && (await processStat(Number(pid)));
    return found && found.state !== "Z" && found.since === since ? Number(pid) : undefined;
  }

  /**
   * Sends the signal to a part, and to its children: PostgreSQL and nginx work in those.
   *
   * @param {string} name
   * @param {NodeJS.Signals} signal
   */
  async signal(name, signal) {
    const pid = await this.pid(name);
    if (!pid) throw new Error(`${name} does not run`);
    if (signal === "SIGKILL" || signal === "SIGTERM") this.ended.add(name);
    const all = signal === "SIGTERM" || signal === "SIGQUIT" || signal === "SIGHUP" ? [pid] : [pid, ...(await children(pid))];
    for (const one of all) {
      try {
        process.kill(one, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
  }

  /** Waits until a part has ended. @param {string} name @param {number} [timeoutMs] */
  async untilEnded(name, timeoutMs = 40_000) {
    await until(`${name} has ended`, async () => !(await this.pid(name)), timeoutMs);
  }

  /** @param {string} name @param {NodeJS.Signals} [signal] */
  async end(name, signal = "SIGKILL") {
    this.ended.add(name);
    await this.signal(name, signal);
    await this.untilEnded(name);
  }

  /** Starts a part that does not run. @param {string} name as in .run/faults/pids */
  async startPart(name) {
    this.ended.delete(name);
    if (STORES.includes(/** @type {Store} */ (name))) return void (await this.dev("stack", ["start", "faults", name]));
    const settings = this.settings.get(Number(name.replace("node-", ""))) ?? {};
    await this.dev("nodes", ["start", "faults", name], settings);
  }

  /** @param {number} node @param {number} [timeoutMs] */
  async untilReady(node, timeoutMs = 60_000) {
    await until(`node-${node} is ready`, () => this.isReady(node), timeoutMs);
  }

  /** @param {number} node */
  async isReady(node) {
    const answer = await fetch(`http://127.0.0.1:${nodePort(node)}/api/health/ready`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    await answer?.text().catch(() => {});
    return answer?.status === 200;
  }

  /** Parts that have ended, although no fault ended them. */
  async crashed() {
    const names = [...NODES.map((node) => `node-${node}`), "nginx", ...STORES];
    const running = await Promise.all(names.map((name) => this.pid(name)));
    return names.filter((name, index) => !running[index] && !this.ended.has(name));
  }

  /** Memory in KiB and open descriptors of each node. */
  async resources() {
    return Promise.all(
      NODES.map(async (node) => {
        const pid = await this.pid(`node-${node}`);
        const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
        const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
        return { node, pid, kib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0), descriptors: descriptors.length };
      }),
    );
  }

  // ---- stores ----------------------------------------------------------------------------------------------------

  /** @param {string} statements @returns {Promise<string>} */
  async sql(statements) {
    const args = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", String(STORE_PORTS.postgres), "-U", "discodeit", "-d", "discodeit"];
    const { stdout } = await run("psql", [...args, ...statements.split(";").flatMap((one) => (one.trim() ? ["-c", one] : []))]);
    return stdout.trim();
  }

  /** A session that runs the statements and stays open until it is killed. @param {string} statements */
  sqlSession(statements) {
    const args = ["-XqAt", "-h", "127.0.0.1", "-p", String(STORE_PORTS.postgres), "-U", "discodeit", "-d", "discodeit"];
    const session = spawn("psql", args, { stdio: ["pipe", "ignore", "ignore"] });
    session.stdin.on("error", () => {});
    session.stdin.write(`${statements}\n`);
    return { end: () => session.stdin.end() };
  }

  /** @param {string[]} command @param {number} [port] @returns {Promise<string>} */
  async redis(command, port = STORE_PORTS.redis) {
    const { stdout } = await run("redis-cli", ["-p", String(port), ...command]);
    return stdout.trim();
  }
}

/** @param {number} pid */
async function processStat(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // After the program's name, which may contain blanks: the state, the parent, 17 fields, the start time.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && { state: fields[0], parent: Number(fields[1]), since: fields[19] };
}

/** @param {number} pid @returns {Promise<number[]>} */
async function children(pid) {
  const all = (await readdir("/proc")).map(Number).filter(Boolean);
  const stats = await Promise.all(all.map(processStat));
  return all.filter((_, index) => stats[index]?.parent === pid);
}

/**
 * @param {string} what
 * @param {() => boolean | Promise<boolean>} condition
 * @param {number} timeoutMs
 */
export async function until(what, condition, timeoutMs) {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`);
    await sleep(50);
  }
}
