// What the scenarios share: the running system, people in it, lines to it, and the store beneath it.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { apiOf, signUp } from "../browser/api.mjs";
import { Person } from "../browser/browser.mjs";
import { forward, twoSources } from "../browser/forwarder.mjs";

const run = promisify(execFile);
const top = fileURLToPath(new URL("../../", import.meta.url));

/** @typedef {Awaited<ReturnType<typeof apiOf>>} Api */

/** @param {string} name */
function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} must be set`);
  return value;
}

export class Stage {
  static async set() {
    const stage = new Stage(new URL(setting("BASE_URL")));
    stage.sources = await twoSources(stage.base);
    stage.admin = await stage.adminAt(stage.base.href);
    return stage;
  }

  /** @param {URL} base */
  constructor(base) {
    this.base = base;
    this.run = randomBytes(3).toString("hex");
    /** Of everybody but the administrator. */
    this.password = `pass-${this.run}`;
    /** Addresses that nginx sends to two nodes. @type {{source: string, node: string}[]} */
    this.sources = [];
    /** @type {Api} */
    this.admin = /** @type {any} */ (undefined);
    /** @type {(() => unknown)[]} */
    this.endings = [];
  }

  /** What a scenario opened is closed when it is over; so each works on its own view of the stage. */
  scene() {
    const scene = Object.assign(new Stage(this.base), this);
    scene.endings = [];
    return scene;
  }

  async close() {
    for (const end of this.endings.splice(0).reverse()) await end();
  }

  /** @param {string} name */
  unique(name) {
    return `${name}-${this.run}-${randomBytes(3).toString("hex")}`;
  }

  /**
   * A line of one's own, which nginx sees come from another network.
   *
   * @param {number} side 0 or 1: which of the two nodes answers
   * @param {Parameters<typeof forward>[2]} [overhear]
   */
  async line(side, overhear) {
    const line = await forward(this.base, this.sources[side].source, overhear);
    this.endings.push(() => line.close());
    return line;
  }

  /** @param {string} url */
  adminAt(url) {
    return apiOf(url, setting("ADMIN_USERNAME"), setting("ADMIN_PASSWORD"));
  }

  /** @param {string} name */
  person(name) {
    return signUp(this.base.href, this.unique(name), this.password);
  }

  /** The id of a new channel. @param {string} name @returns {Promise<string>} */
  async channel(name) {
    return (await this.admin.createChannel(this.unique(name))).id;
  }

  /**
   * A browser on a page of the system that has no script of its own, under nginx's policy for pages.
   *
   * @param {string} url
   */
  async browser(url) {
    const person = await Person.open(this.unique("browser"), `${url}/api/health/live`);
    this.endings.push(() => person.close());
    return person;
  }

  /** @template {{close(): unknown}} T @param {T} closable @returns {T} */
  keep(closable) {
    this.endings.push(() => closable.close());
    return closable;
  }

  // ---- the store -------------------------------------------------------------------------------------------------

  /** @param {string} script @param {...string} keys @returns {Promise<any>} what it returns through cjson */
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
   * Sends the signal to the node and waits until it is gone. It is back before the next scenario begins.
   *
   * @param {string} node
   * @param {NodeJS.Signals} signal
   */
  async end(node, signal) {
    this.endings.push(() => this.startNodes());
    const remembered = await readFile(`${top}.run/test/pids/${node}`, "utf8");
    const pid = Number(remembered.split(" ")[0]);
    process.kill(pid, signal);
    const deadline = Date.now() + 40_000;
    while (await runs(pid)) {
      if (Date.now() > deadline) throw new Error(`${node} lives 40 s after ${signal}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Starts what does not run, and waits until it is ready. */
  async startNodes() {
    await run(`${top}dev/nodes`, ["start", "test"]);
  }
}

/** @param {number} pid */
async function runs(pid) {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // A process that nobody has waited for yet is gone all the same.
    return !/\) Z /.test(stat);
  } catch {
    return false;
  }
}
