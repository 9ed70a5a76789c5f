// A client of server-sent events, through each library, and a record of its traffic.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";
import polyfill from "event-source-polyfill";
import { assertComplete } from "./history.mjs";

const TIMEOUT_MS = 60_000;
const NAMES = ["notifications", "binaryContents.status", "channels.refresh", "users.refresh", "sync", "resync"];
/** How each library sends the last event id. */
const RESUMES_BY = { polyfill: "query", eventsource: "header", chromium: "header" };

/**
 * @typedef {keyof RESUMES_BY} Kind
 * @typedef {import("./history.mjs").Event} Event
 * @typedef {{events: Event[], opened: number, errors: number, readyState: number}} State
 * @typedef {(proxy: Awaited<ReturnType<import("./system.mjs").System["proxy"]>>) => Promise<{
 *   read: () => Promise<State>, close: () => unknown}>} Open
 */

/**
 * @param {EventTarget} source of any of the libraries
 * @param {State} state
 */
function record(source, state) {
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      const { lastEventId, data } = /** @type {MessageEvent} */ (event);
      state.events.push({ name, id: lastEventId, data });
    });
  }
  source.addEventListener("open", () => state.opened++);
  source.addEventListener("error", () => state.errors++);
}

/** @type {Record<"polyfill" | "eventsource", (token: string) => Open>} */
const inNode = {
  polyfill: (token) => async (proxy) => {
    const source = new polyfill.EventSourcePolyfill(`${proxy.url}/api/sse`, {
      headers: { Authorization: `Bearer ${token}` },
    });
    return watch(/** @type {any} */ (source));
  },
  eventsource: (token) => async (proxy) => {
    const source = new EventSource(`${proxy.url}/api/sse`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
    });
    return watch(source);
  },
};

/** @param {globalThis.EventTarget & {close(): void, readyState: number}} source */
function watch(source) {
  /** @type {State} */
  const state = { events: [], opened: 0, errors: 0, readyState: 0 };
  record(source, state);
  return { read: async () => ({ ...state, readyState: source.readyState }), close: () => source.close() };
}

/** Opens a stream in a page with the session cookie. @param {import("playwright-core").Page} page @returns {Open} */
const inChromium = (page) => async () => {
  await page.evaluate(`
    window.NAMES = ${JSON.stringify(NAMES)};
    window.state = { events: [], opened: 0, errors: 0, readyState: 0 };
    window.source = new EventSource("/api/sse");
    (${record})(source, state);
  `);
  const read = "({ ...state, readyState: source.readyState })";
  return { read: () => page.evaluate(read), close: () => page.close() };
};

export class SseClient {
  /**
   * @param {import("./system.mjs").System} system
   * @param {"polyfill" | "eventsource"} kind
   * @param {number} side
   * @param {{user: {id: string}, token: string}} person
   */
  static async open(system, kind, side, { user, token }) {
    const client = new SseClient(system, kind, user.id);
    const proxy = await system.proxy(side, (bytes, fromClient) => client.inspect(bytes, fromClient));
    client.#source = system.keep(await inNode[kind](token)(proxy));
    return client;
  }

  /**
   * Signs a user in with a browser and opens a stream in each tab.
   *
   * @param {import("./system.mjs").System} system
   * @param {number} side
   * @param {{user: {id: string, username: string}}} person
   * @param {number} count
   * @param {string} [password]
   * @returns {Promise<SseClient[]>}
   */
  static async openTabs(system, side, { user }, count, password = system.password) {
    const tabs = Array.from({ length: count }, () => new SseClient(system, "chromium", user.id));
    const [first] = tabs;
    first.tabs = tabs;
    const proxy = await system.proxy(side, (bytes, fromClient) => first.inspect(bytes, fromClient));
    const { page, context } = await system.browser(proxy.url);
    const login = JSON.stringify({ username: user.username, password });
    await page.evaluate(async (body) => {
      await fetch("/api/auth/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    }, login);
    for (const tab of tabs) {
      const own = tab === first ? page : await context.newPage();
      if (tab !== first) await own.goto(page.url());
      tab.#source = await inChromium(own)(proxy);
    }
    return tabs;
  }

  /** @type {Awaited<ReturnType<Open>> | undefined} */
  #source;
  /** The incomplete head of a request. */
  #head = "";

  /** @param {import("./system.mjs").System} system @param {Kind} kind @param {string} user */
  constructor(system, kind, user) {
    this.system = system;
    /** Tabs behind the same proxy; the first one records the traffic. @type {SseClient[]} */
    this.tabs = [this];
    this.kind = kind;
    this.user = user;
    /** Heads of the requests for a stream. @type {string[]} */
    this.requests = [];
    /** Status codes of all responses. @type {Set<string>} */
    this.statuses = new Set();
    /** Consecutive keep-alive comments: current count and maximum. */
    this.comments = 0;
    this.maxComments = 0;
    /** Time of the last read, and the longest gap between reads. */
    this.lastReadAt = Date.now();
    this.maxGapMs = 0;
  }

  /** @param {Buffer} bytes @param {boolean} fromClient */
  inspect(bytes, fromClient) {
    const text = bytes.toString("latin1");
    if (fromClient) {
      const heads = (this.#head + text).split("\r\n\r\n");
      this.#head = heads.pop() ?? "";
      this.requests.push(...heads.filter((head) => head.includes("GET /api/sse")));
      return;
    }
    const now = Date.now();
    this.maxGapMs = Math.max(this.maxGapMs, now - this.lastReadAt);
    this.lastReadAt = now;
    // A comment in one chunk of two bytes.
    this.comments = text === "2\r\n:\n\r\n" ? this.comments + 1 : 0;
    this.maxComments = Math.max(this.maxComments, this.comments);
    for (const [, status] of text.matchAll(/^HTTP\/1\.1 (\d+)/gm)) this.statuses.add(status);
  }

  /** @returns {Promise<State>} */
  async read() {
    if (!this.#source) throw new Error("not open");
    return this.#source.read();
  }

  async close() {
    await this.#source?.close();
  }

  /** @param {string} description @param {(state: State) => boolean} condition @param {number} [timeoutMs] */
  async until(description, condition, timeoutMs = TIMEOUT_MS) {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const state = await this.read();
      if (condition(state)) return state;
      if (Date.now() > deadline) {
        const { events, ...rest } = state;
        const seen = { ...rest, last: events.at(-1), count: events.length, requests: this.requests.length };
        throw new Error(`${this.kind}: timeout: ${description}; ${JSON.stringify(seen)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async receivesSync() {
    return this.until("sync", ({ events }) => events.length > 0);
  }

  /**
   * Waits for this many events about the channel, and compares all events with the history. After a `resync`, only later
   * events count.
   *
   * @param {string} channel
   * @param {number} count
   */
  async receivesAtLeast(channel, count) {
    /** @param {State} state */
    const sinceResync = ({ events }) => events.slice(Math.max(0, events.findLastIndex(({ name }) => name === "resync")));
    /** @param {State} state */
    const about = (state) =>
      sinceResync(state).filter(({ name, data }) => name === "channels.refresh" && data.includes(channel)).length;
    const state = await this.until(`${count} events about a channel`, (state) => about(state) >= count);
    await assertComplete(this.system, this.user, sinceResync(state));
    return { ...state, about: about(state) };
  }

  /** Asserts that the client received exactly what the history holds. */
  async assertComplete() {
    await assertComplete(this.system, this.user, (await this.read()).events);
  }

  /** As `receivesAtLeast`, and asserts that no more events came. @param {string} channel @param {number} count */
  async receivesExactly(channel, count) {
    const state = await this.receivesAtLeast(channel, count);
    assert.equal(state.about, count);
    return state;
  }

  /** A browser's page sends other requests too; there a rejection would have ended the stream permanently. */
  assertNeverRejected() {
    if (this.kind !== "chromium") assert.deepEqual(this.statuses, new Set(["200"]));
  }

  /** Asserts an interruption, and that each later request named a received event as the last one. */
  async assertResumed() {
    const states = await Promise.all(this.tabs.map((tab) => tab.read()));
    for (const { opened, errors } of states) assert.ok(errors > 0 && opened > 1, `${this.kind} was not interrupted`);
    const ids = new Set(states.flatMap(({ events }) => events.map(({ id }) => id)));
    for (const request of this.requests.slice(this.tabs.length)) {
      const header = /^last-event-id: (.*?)\r?$/im.exec(request)?.[1];
      const query = /\?lastEventId=([^ &]*)/.exec(request)?.[1];
      const [used, other] = RESUMES_BY[this.kind] === "query" ? [query, header] : [header, query];
      assert.ok(used && ids.has(decodeURIComponent(used)), `${this.kind} resumes by ${used}`);
      assert.equal(other, undefined);
    }
  }
}
