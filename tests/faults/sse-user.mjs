// An SSE client that resumes, and records what it sees.
import { EventSource } from "eventsource";

const NAMES = [
  "notifications", "notifications.deleted", "binaryContents.status", "channels.refresh", "users.refresh", "sync", "resync",
];
/** Delay before a stream that the server refused is opened again. */
const REOPEN_MS = 500;

export class SseUser {
  /**
   * @param {object} options
   * @param {import("./history.mjs").History} options.history
   * @param {string} options.name
   * @param {import("./person.mjs").Person} options.person
   * @param {string} options.url
   */
  constructor({ history, name, person, url }) {
    this.history = history;
    this.name = name;
    this.person = person;
    this.url = url;
    this.connections = 0;
    this.isClosed = false;
    this.lastId = "";
    /** Channels of which an event has come. @type {Set<string>} */
    this.channels = new Set();
    /** Ids of notifications of which an event has come. @type {Set<string>} */
    this.notifications = new Set();
    /** Time of the last `resync`, which stands for all events before. */
    this.resyncedAt = 0;
    history.clients.set(name, { name, user: person.id, kind: "sse", isSteady: true });
  }

  open() {
    const query = this.lastId ? `?lastEventId=${encodeURIComponent(this.lastId)}` : "";
    this.source = new EventSource(`${this.url}/api/sse${query}`, {
      fetch: (url, init) => {
        this.connections++;
        const headers = { ...init.headers, Authorization: `Bearer ${this.person.api.token}` };
        return fetch(url, { ...init, headers });
      },
    });
    for (const name of NAMES) this.source.addEventListener(name, (event) => this.#onEvent(name, /** @type {any} */ (event)));
    this.source.addEventListener("error", (event) => this.#onError(/** @type {{code?: number}} */ (event)));
  }

  /** @param {string} name @param {MessageEvent} event */
  #onEvent(name, { lastEventId, data }) {
    this.lastId = lastEventId;
    const value = JSON.parse(data);
    if (name === "channels.refresh") this.channels.add(value.channelId);
    if (name === "notifications") this.notifications.add(value.id);
    if (name === "resync") this.resyncedAt = Date.now();
    const connection = `${this.name} ${this.connections}`;
    this.history.events.push({ client: this.name, connection, name, id: lastEventId, data: value, at: Date.now() });
  }

  /** The library opens a broken stream again, but never one that was refused. @param {{code?: number}} event */
  async #onError({ code }) {
    if (this.isClosed || this.source?.readyState !== EventSource.CLOSED) return;
    if (code === 401) await this.person.signInAgain();
    // Browsers would stay without events for ever.
    else this.history.refusals.push({ client: this.name, text: `the stream was refused with ${code}`, at: Date.now() });
    setTimeout(() => this.isClosed || this.open(), REOPEN_MS);
  }

  close() {
    this.isClosed = true;
    this.source?.close();
  }
}
