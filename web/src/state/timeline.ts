// The loaded messages of one channel: a range without gaps up to the newest.
import { signal } from "@preact/signals";
import * as api from "../api";
import { retry } from "./retry";
import type { Message, MessagePage } from "../types";

/** A longer list is trimmed to one page while the reader is at the bottom. */
const MAX_MESSAGES = 600;

export class Timeline {
  readonly channelId: string;
  /** By seq, without duplicates. */
  readonly messages = signal<Message[]>([]);
  readonly state = signal<"loading" | "ready" | "failed">("loading");
  readonly hasOlder = signal(false);
  readonly loadingOlder = signal(false);
  /** The highest seq seen; also counts deleted messages, which must not be requested again. */
  lastSeq = 0;
  private olderCursor: string | null = null;
  /** Ids deleted during a read of a page that may still have them. */
  private readonly deleted = new Set<string>();

  constructor(channelId: string) {
    this.channelId = channelId;
  }

  /** Reads the newest page; loaded messages stay until then. */
  async load(): Promise<boolean> {
    if (!this.loadingOlder.peek()) this.deleted.clear();
    try {
      const page = await retry(() => api.messages(this.channelId));
      this.#startFrom(page);
      return true;
    } catch (error) {
      if (this.state.peek() === "loading") this.state.value = "failed";
      console.warn("reading messages failed:", error);
      return false;
    }
  }

  #startFrom(page: MessagePage) {
    const kept = page.content.filter((message) => !this.deleted.has(message.id)).reverse();
    const oldest = kept[0]?.seq ?? Infinity;
    const newest = kept.at(-1)?.seq ?? 0;
    const held = this.messages.peek();
    // Messages that arrived live during the read.
    const newer = held.filter((message) => message.seq > newest);
    // Keeps older pages when the two ranges overlap or touch, without a gap.
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
      // The list was restarted, so this page no longer adjoins.
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

  /** Adds a message or replaces an older version of it. */
  put(message: Message) {
    if (this.deleted.has(message.id)) return;
    const held = this.messages.peek();
    const at = held.findIndex((each) => each.id === message.id);
    if (at >= 0) {
      if (version(message) >= version(held[at])) this.#set(held.with(at, message));
      return;
    }
    // A message before the range would leave a gap.
    if (held.length && message.seq < held[0].seq) return;
    this.#set([...held, message].sort((a, b) => a.seq - b.seq));
  }

  /** Replaces a loaded message. */
  update(message: Message) {
    if (this.messages.peek().some((each) => each.id === message.id)) this.put(message);
  }

  remove(id: string) {
    this.deleted.add(id);
    this.messages.value = this.messages.peek().filter((message) => message.id !== id);
  }

  /** Drops old messages. For a reader at the bottom, where these are out of view. */
  trim() {
    const held = this.messages.peek();
    if (held.length <= MAX_MESSAGES) return;
    this.#set(held.slice(-api.PAGE_SIZE));
    // A plain instant is a valid cursor. loadOlder() drops the duplicates in that page.
    this.olderCursor = new Date(Date.parse(held[held.length - api.PAGE_SIZE].createdAt) + 1).toISOString();
    this.hasOlder.value = true;
  }

  #set(messages: Message[]) {
    this.lastSeq = Math.max(this.lastSeq, messages.at(-1)?.seq ?? 0);
    this.messages.value = messages;
  }
}

const version = (message: Message) => Date.parse(message.updatedAt ?? message.createdAt);
