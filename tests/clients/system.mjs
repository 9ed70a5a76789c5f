// Access to the running system for scenarios: users, channels, proxies, browsers, Redis, and the nodes' processes.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { apiOf, signUp } from "../browser/api.mjs";
import { Person } from "../browser/browser.mjs";
import { startProxy, distinctSources } from "../browser/proxy.mjs";

const run = promisify(execFile);
const top = fileURLToPath(new URL("../../", import.meta.url));

/** @typedef {Awaited<ReturnType<typeof apiOf>>} Api */

/** @param {string} name */
function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} must be set`);
  return value;
}

export class System {
  static async connect() {
    const system = new System(new URL(setting("BASE_URL")));
    system.sources = await distinctSources(system.base);
    system.admin = await system.adminAt(system.base.href);
    return system;
  }

  /** @param {URL} base */
  constructor(base) {
    this.base = base;
    this.run = randomBytes(3).toString("hex");
    /** The password of every user except the administrator. */
    this.password = `pass-${this.run}`;
    /** Source addresses that nginx routes to different nodes. @type {{source: string, node: string}[]} */
    this.sources = [];
    /** @type {Api} */
    this.admin = /** @type {any} */ (undefined);
    /** @type {(() => unknown)[]} */
    this.cleanups = [];
  }

  /** A copy with its own cleanups: closing it closes only what one scenario opened. */
  scope() {
    const scope = Object.assign(new System(this.base), this);
    scope.cleanups = [];
    return scope;
  }

  async close() {
    for (const end of this.cleanups.splice(0).reverse()) await end();
  }

  /** @param {string} name */
  unique(name) {
    return `${name}-${this.run}-${randomBytes(3).toString("hex")}`;
  }

  /**
   * A TCP proxy with its own source address, which nginx takes for another client.
   *
   * @param {number} side 0 or 1: the node that answers
   * @param {Parameters<typeof startProxy>[2]} [inspect]
   */
  async proxy(side, inspect) {
    const proxy = await startProxy(this.base, this.sources[side].source, inspect);
    this.cleanups.push(() => proxy.close());
    return proxy;
  }

  /** @param {string} url */
  adminAt(url) {
    return apiOf(url, setting("ADMIN_USERNAME"), setting("ADMIN_PASSWORD"));
  }

  /** @param {string} name */
  person(name) {
    return this.personNamed(this.unique(name));
  }

  /** @param {string} username */
  personNamed(username) {
    return signUp(this.base.href, username, this.password);
  }

  /** Creates a channel and returns its id. @param {string} name @returns {Promise<string>} */
  async channel(name) {
    return (await this.admin.createChannel(this.unique(name))).id;
  }

  /**
   * A browser on a page without scripts, under the content security policy that nginx sets.
   *
   * @param {string} url
   */
  async browser(url) {
    const person = await Person.open(this.unique("browser"), `${url}/api/health/live`);
    this.cleanups.push(() => person.close());
    return person;
  }

  /** @template {{close(): unknown}} T @param {T} closable @returns {T} */
  keep(closable) {
    this.cleanups.push(() => closable.close());
    return closable;
  }

  // ---- Redis -----------------------------------------------------------------------------------------------------

  /** @param {string} script @param {...string} keys @returns {Promise<any>} the script's result, encoded by cjson */
  async redis(script, ...keys) {
    const call = ["-u", setting("TEST_REDIS_URL"), "--raw", "EVAL", script, String(keys.length), ...keys];
    const { stdout } = await run("redis-cli", call, { maxBuffer: 64 * 1024 * 1024 });
    try {
      return JSON.parse(stdout);
    } catch {
      throw new Error(`Redis: ${stdout.slice(0, 500)}`);
    }
  }

  // ---- the nodes, as dev/nodes runs them -------------------------------------------------------------------------

  /**
   * Sends the signal to the node and waits until it exits. The scenario's cleanup starts it again.
   *
   * @param {string} node
   * @param {NodeJS.Signals} signal
   */
  async stopNode(node, signal) {
    this.cleanups.push(() => this.startNodes());
    const recorded = await readFile(`${top}.run/test/pids/${node}`, "utf8");
    const pid = Number(recorded.split(" ")[0]);
    process.kill(pid, signal);
    const deadline = Date.now() + 40_000;
    while (await isRunning(pid)) {
      if (Date.now() > deadline) throw new Error(`${node} still runs 40 s after ${signal}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Starts the nodes that do not run, and waits until they are ready. */
  async startNodes() {
    await run(`${top}dev/nodes`, ["start", "test"]);
  }
}

/** @param {number} pid */
async function isRunning(pid) {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // A zombie has exited.
    return !/\) Z /.test(stat);
  } catch {
    return false;
  }
}
