// The messages of one channel, as far as they are held here: an unbroken stretch up to the newest.
import * as api from "../api.js";
import { signal } from "../ui.js";
import { retry } from "./retry.js";

/** @typedef {import("../types.js").Message} Message */

/** More than this is cut back to one page when the reader is at the bottom. */
const MOST_HELD = 600;

export class Timeline {
  /** @param {string} channelId */
  constructor(channelId) {
    this.channelId = channelId;
    /** By seq, each once. */
    this.messages = signal(/** @type {Message[]} */ ([]));
    this.state = signal(/** @type {"loading" | "ready" | "failed"} */ ("loading"));
    this.hasOlder = signal(false);
    this.loadingOlder = signal(false);
    /** The highest seq ever seen: a deleted newest message must not be asked for again. */
    this.lastSeq = 0;
    /** @type {string | null} */
    this.olderCursor = null;
    /** Ids deleted while a page that may still hold them was under way. @type {Set<string>} */
    this.deleted = new Set();
  }

  /** Reads the newest page; what is held already stays until it is there. @returns {Promise<boolean>} */
  async load() {
    if (!this.loadingOlder.peek()) this.deleted.clear();
    try {
      const page = await retry(() => api.messages(this.channelId));
      this.#startFrom(page);
      return true;
    } catch (error) {
      if (this.state.peek() === "loading") this.state.value = "failed";
      console.warn("messages could not be read:", error);
      return false;
    }
  }

  /** @param {import("../types.js").MessagePage} page */
  #startFrom(page) {
    const kept = page.content.filter((message) => !this.deleted.has(message.id)).reverse();
    const oldest = kept[0]?.seq ?? Infinity;
    const newest = kept.at(-1)?.seq ?? 0;
    const held = this.messages.peek();
    // A message that came live while the page was under way.
    const newer = held.filter((message) => message.seq > newest);
    // Older pages remain when they join on without a hole: the two stretches overlap or touch.
    const joined = held.some((message) => message.seq >= oldest - 1 && message.seq <= newest);
    const older = joined ? held.filter((message) => message.seq < oldest) : [];
    if (!older.length) {
      this.olderCursor = page.nextCursor;
      this.hasOlder.value = page.hasNext;
    }
    this.#set([...older, ...kept, ...newer]);
    this.state.value = "ready";
  }

  async loadOlder() {
    if (this.loadingOlder.peek() || !this.hasOlder.peek()) return;
    this.loadingOlder.value = true;
    try {
      const cursor = this.olderCursor;
      const page = await retry(() => api.messages(this.channelId, cursor));
      // The list was begun anew meanwhile: this page no longer joins on.
      if (cursor !== this.olderCursor) return;
      const known = new Set(this.messages.peek().map((message) => message.id));
      const fresh = page.content.filter((message) => !known.has(message.id) && !this.deleted.has(message.id));
      this.olderCursor = page.nextCursor;
      this.hasOlder.value = page.hasNext;
      this.#set([...fresh.reverse(), ...this.messages.peek()]);
    } finally {
      this.loadingOlder.value = false;
    }
  }

  /** A new message, or a new version of one held; an old version is ignored. @param {Message} message */
  put(message) {
    if (this.deleted.has(message.id)) return;
    const held = this.messages.peek();
    const at = held.findIndex((each) => each.id === message.id);
    if (at >= 0) {
      if (version(message) >= version(held[at])) this.#set(held.with(at, message));
      return;
    }
    // Something from before our stretch would leave a hole behind it.
    if (held.length && message.seq < held[0].seq) return;
    this.#set([...held, message].sort((a, b) => a.seq - b.seq));
  }

  /** A new version of a message; nothing when it is not held. @param {Message} message */
  revise(message) {
    if (this.messages.peek().some((each) => each.id === message.id)) this.put(message);
  }

  /** @param {string} id */
  remove(id) {
    this.deleted.add(id);
    this.messages.value = this.messages.peek().filter((message) => message.id !== id);
  }

  /** Called while the reader is at the bottom, where nobody sees the oldest go. */
  trim() {
    const held = this.messages.peek();
    if (held.length <= MOST_HELD) return;
    this.#set(held.slice(-api.PAGE));
    // Cursors are opaque, but a plain instant is one too. What it repeats is left out when the page comes.
    this.olderCursor = new Date(Date.parse(held[held.length - api.PAGE].createdAt) + 1).toISOString();
    this.hasOlder.value = true;
  }

  /** @param {Message[]} messages */
  #set(messages) {
    this.lastSeq = Math.max(this.lastSeq, messages.at(-1)?.seq ?? 0);
    this.messages.value = messages;
  }
}

/** @param {Message} message */
const version = (message) => Date.parse(message.updatedAt ?? message.createdAt);
