// Somebody who listens to server-sent events, through each of the libraries that do so, and what passes on their line.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";
import polyfill from "event-source-polyfill";
import { isComplete } from "./history.mjs";

const PATIENCE_MS = 60_000;
const NAMES = ["notifications", "binaryContents.status", "channels.refresh", "users.refresh", "sync", "resync"];
/** How each says where it wants to go on. */
const RESUMES_BY = { polyfill: "query", eventsource: "header", chromium: "header" };

/**
 * @typedef {keyof RESUMES_BY} Kind
 * @typedef {import("./history.mjs").Event} Event
 * @typedef {{events: Event[], opened: number, errors: number, readyState: number}} State
 * @typedef {(line: Awaited<ReturnType<import("./stage.mjs").Stage["line"]>>) => Promise<{
 *   read: () => Promise<State>, close: () => unknown}>} Open
 */

/**
 * @param {EventTarget} source of any of the libraries
 * @param {State} state
 */
function note(source, state) {
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
  polyfill: (token) => async (line) => {
    const source = new polyfill.EventSourcePolyfill(`${line.url}/api/sse`, {
      headers: { Authorization: `Bearer ${token}` },
    });
    return watch(/** @type {any} */ (source));
  },
  eventsource: (token) => async (line) => {
    const source = new EventSource(`${line.url}/api/sse`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
    });
    return watch(source);
  },
};

/** @param {globalThis.EventTarget & {close(): void, readyState: number}} source */
function watch(source) {
  /** @type {State} */
  const state = { events: [], opened: 0, errors: 0, readyState: 0 };
  note(source, state);
  return { read: async () => ({ ...state, readyState: source.readyState }), close: () => source.close() };
}

/** In a page that has the session's cookie. @param {import("playwright-core").Page} page @returns {Open} */
const inChromium = (page) => async () => {
  await page.evaluate(`
    window.NAMES = ${JSON.stringify(NAMES)};
    window.state = { events: [], opened: 0, errors: 0, readyState: 0 };
    window.source = new EventSource("/api/sse");
    (${note})(source, state);
  `);
  const read = "({ ...state, readyState: source.readyState })";
  return { read: () => page.evaluate(read), close: () => page.close() };
};

export class Listener {
  /**
   * @param {import("./stage.mjs").Stage} stage
   * @param {"polyfill" | "eventsource"} kind
   * @param {number} side
   * @param {{user: {id: string}, token: string}} person
   */
  static async open(stage, kind, side, { user, token }) {
    const listener = new Listener(stage, kind, user.id);
    const line = await stage.line(side, (what, fromClient) => listener.overhear(what, fromClient));
    listener.#source = stage.keep(await inNode[kind](token)(line));
    return listener;
  }

  /**
   * Somebody who signs in with a browser and opens tabs.
   *
   * @param {import("./stage.mjs").Stage} stage
   * @param {number} side
   * @param {{user: {id: string, username: string}}} person
   * @param {number} count
   * @param {string} [password]
   * @returns {Promise<Listener[]>}
   */
  static async openTabs(stage, side, { user }, count, password = stage.password) {
    const tabs = Array.from({ length: count }, () => new Listener(stage, "chromium", user.id));
    const [first] = tabs;
    first.tabs = tabs;
    const line = await stage.line(side, (what, fromClient) => first.overhear(what, fromClient));
    const { page, context } = await stage.browser(line.url);
    const login = JSON.stringify({ username: user.username, password });
    await page.evaluate(async (body) => {
      await fetch("/api/auth/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    }, login);
    for (const tab of tabs) {
      const own = tab === first ? page : await context.newPage();
      if (tab !== first) await own.goto(page.url());
      tab.#source = await inChromium(own)(line);
    }
    return tabs;
  }

  /** @type {Awaited<ReturnType<Open>> | undefined} */
  #source;
  /** Not yet told apart. */
  #said = "";

  /** @param {import("./stage.mjs").Stage} stage @param {Kind} kind @param {string} user */
  constructor(stage, kind, user) {
    this.stage = stage;
    /** Those on the same line; what passes there the first of them overhears. @type {Listener[]} */
    this.tabs = [this];
    this.kind = kind;
    this.user = user;
    /** Heads of the requests for a stream. @type {string[]} */
    this.requests = [];
    /** Status codes of all answers. @type {Set<string>} */
    this.statuses = new Set();
    /** Keep-alive comments with nothing between them: now, and at most. */
    this.comments = 0;
    this.mostComments = 0;
    /** When something came, and the longest time without, in ms. */
    this.came = Date.now();
    this.longestGap = 0;
  }

  /** @param {Buffer} what @param {boolean} fromClient */
  overhear(what, fromClient) {
    const text = what.toString("latin1");
    if (fromClient) {
      const heads = (this.#said + text).split("\r\n\r\n");
      this.#said = heads.pop() ?? "";
      this.requests.push(...heads.filter((head) => head.includes("GET /api/sse")));
      return;
    }
    const now = Date.now();
    this.longestGap = Math.max(this.longestGap, now - this.came);
    this.came = now;
    // With the length that HTTP puts before it.
    this.comments = text === "3\r\n:\n\n\r\n" ? this.comments + 1 : 0;
    this.mostComments = Math.max(this.mostComments, this.comments);
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

  /** @param {string} what @param {(state: State) => boolean} holds @param {number} [patienceMs] */
  async until(what, holds, patienceMs = PATIENCE_MS) {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const state = await this.read();
      if (holds(state)) return state;
      if (Date.now() > deadline) {
        const { events, ...rest } = state;
        const seen = { ...rest, last: events.at(-1), count: events.length, requests: this.requests.length };
        throw new Error(`${this.kind}: not in time: ${what}; ${JSON.stringify(seen)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async synced() {
    return this.until("sync", ({ events }) => events.length > 0);
  }

  /**
   * Waits for that many events about the channel, and compares all there were with the history. After a `resync` only
   * those behind it count.
   *
   * @param {string} channel
   * @param {number} count
   */
  async hasAtLeast(channel, count) {
    /** @param {State} state */
    const ofInterest = ({ events }) => events.slice(Math.max(0, events.findLastIndex(({ name }) => name === "resync")));
    /** @param {State} state */
    const about = (state) =>
      ofInterest(state).filter(({ name, data }) => name === "channels.refresh" && data.includes(channel)).length;
    const state = await this.until(`${count} events about a channel`, (state) => about(state) >= count);
    await isComplete(this.stage, this.user, ofInterest(state));
    return { ...state, about: about(state) };
  }

  /** Whether all that came is what the history keeps. */
  async isComplete() {
    await isComplete(this.stage, this.user, (await this.read()).events);
  }

  /** The same, and there are no more. @param {string} channel @param {number} count */
  async hasAll(channel, count) {
    const state = await this.hasAtLeast(channel, count);
    assert.equal(state.about, count);
    return state;
  }

  /** The page of a browser asks for other things as well; there a refusal would have ended the stream for good. */
  wasNeverRefused() {
    if (this.kind !== "chromium") assert.deepEqual(this.statuses, new Set(["200"]));
  }

  /** It was interrupted, and each request after the first asked for what came behind an event that was received. */
  async resumedByItself() {
    const states = await Promise.all(this.tabs.map((tab) => tab.read()));
    for (const { opened, errors } of states) assert.ok(errors > 0 && opened > 1, `${this.kind} was interrupted`);
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
