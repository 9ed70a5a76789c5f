// The loaded messages of one channel: a range without gaps, which ends at the newest unless the reader is far up.
import { signal } from "@preact/signals";
import * as api from "../api";
import { inFrame } from "../frames";
import { retry } from "./retry";
import type { Message, MessagePage } from "../types";

/** Of a longer range, the end that is far from the reader is dropped, and read again when the reader returns to it. */
export const MAX_MESSAGES = 300;
/** Dropped at once, so that not each arrival moves the end of the range. */
const SPARE = 50;

/** A reader's place in the history: a row, and the distance of its top from the top of the view. */
export interface Place {
  key: string;
  distance: number;
  /** Heights of the rows around it. */
  sizes: Map<string, number>;
  /** The newest seq that the reader has seen. */
  seen: number;
}

export class Timeline {
  readonly channelId: string;
  /** By seq, without duplicates. */
  readonly messages = signal<Message[]>([]);
  readonly state = signal<"loading" | "ready" | "failed">("loading");
  readonly hasOlder = signal(false);
  readonly hasNewer = signal(false);
  /** The end of the range that is being read. */
  readonly loading = signal<"older" | "newer" | null>(null);
  /** The highest seq seen; also counts deleted messages, which must not be requested again. */
  readonly newestSeq = signal(0);
  /** Whether the reader is at the newest message. A reader elsewhere keeps the range that is around them. */
  following = true;
  /** Set while the channel is not on screen; null at the newest message. */
  place: Place | null = null;
  /** The lowest seq of the range; the message may be deleted since. */
  private lowest = 0;
  /** Ids deleted during a read of a page that may still have them. */
  private readonly deleted = new Set<string>();
  private reads = 0;

  constructor(channelId: string) {
    this.channelId = channelId;
  }

  get lastSeq() {
    return this.newestSeq.peek();
  }

  /**
   * Reads the newest page; loaded messages stay until then.
   *
   * @param jump replaces the range around a reader who is further up
   */
  async load(jump = false): Promise<boolean> {
    try {
      await this.#read(null, (page) => this.#startFrom(page, jump || this.following));
      return true;
    } catch (error) {
      if (this.state.peek() === "loading") this.state.value = "failed";
      console.warn("reading messages failed:", error);
      return false;
    }
  }

  #startFrom(page: MessagePage, jump: boolean) {
    const kept = this.#undeleted(page).reverse();
    const oldest = kept[0]?.seq ?? Infinity;
    const newest = kept.at(-1)?.seq ?? 0;
    const held = this.messages.peek();
    // Messages that arrived live during the read.
    const newer = held.filter((message) => message.seq > newest);
    // Keeps older pages when the two ranges overlap or touch, without a gap.
    const joined = held.some((message) => message.seq >= oldest - 1 && message.seq <= newest);
    this.state.value = "ready";
    if (!joined && held.length && !jump) {
      this.#see(newest);
      this.hasNewer.value = true;
      return;
    }
    const older = joined ? held.filter((message) => message.seq < oldest) : [];
    if (!older.length) {
      this.lowest = page.content.at(-1)?.seq ?? 0;
      this.hasOlder.value = page.hasNext;
    }
    this.hasNewer.value = false;
    this.#set([...older, ...kept, ...newer], "older");
  }

  async loadOlder() {
    if (this.loading.peek() || !this.hasOlder.peek()) return;
    const { lowest } = this;
    await this.#readFrom("older", lowest, (page) => {
      // The range may start elsewhere since.
      if (this.lowest !== lowest) return;
      const fresh = this.#undeleted(page).filter((message) => message.seq < lowest);
      this.lowest = Math.min(lowest, page.content.at(-1)?.seq ?? lowest);
      this.hasOlder.value = page.hasNext;
      this.#set([...fresh.reverse(), ...this.messages.peek()], "newer");
    });
  }

  async loadNewer() {
    const highest = this.messages.peek().at(-1)?.seq;
    if (this.loading.peek() || !this.hasNewer.peek() || highest === undefined) return;
    await this.#readFrom("newer", highest, (page) => {
      if (this.messages.peek().at(-1)?.seq !== highest) return;
      const fresh = this.#undeleted(page).filter((message) => message.seq > highest);
      // Messages that arrived during the read are after the page.
      this.hasNewer.value = page.hasNext || this.lastSeq > (page.content.at(-1)?.seq ?? this.lastSeq);
      this.#set([...this.messages.peek(), ...fresh], "older");
    });
  }

  async #readFrom(end: "older" | "newer", seq: number, use: (page: MessagePage) => void) {
    this.loading.value = end;
    try {
      await this.#read({ seq, end }, use);
    } finally {
      this.loading.value = null;
    }
  }

  /** @param from null for the newest page */
  async #read(from: { seq: number; end: "older" | "newer" } | null, use: (page: MessagePage) => void) {
    if (this.reads++ === 0) this.deleted.clear();
    try {
      // The server's cursor is the seq of the last message of a page.
      const page = await retry(() =>
        from ? api.messages(this.channelId, String(from.seq), from.end) : api.messages(this.channelId),
      );
      // After the events that arrived before it, and after the scroll event of the frame: the list keeps its place by that.
      await new Promise<void>((done) =>
        inFrame(() => {
          done();
          use(page);
        }),
      );
    } finally {
      this.reads--;
    }
  }

  #undeleted(page: MessagePage) {
    return page.content.filter((message) => !this.deleted.has(message.id));
  }

  /** Adds a message or replaces an older version of it. */
  put(message: Message) {
    if (this.deleted.has(message.id)) return;
    const held = this.messages.peek();
    const before = held.findLastIndex((each) => each.seq <= message.seq);
    if (before >= 0 && held[before].id === message.id) {
      if (version(message) >= version(held[before])) this.#set(held.with(before, message), null);
      return;
    }
    // A message outside the range would leave a gap.
    if (before < 0 && held.length) return;
    const last = before === held.length - 1;
    if (last && !this.hasNewer.peek() && !this.following && held.length >= MAX_MESSAGES) this.hasNewer.value = true;
    if (last && this.hasNewer.peek()) return this.#see(message.seq);
    this.#set(held.toSpliced(before + 1, 0, message), this.following ? "older" : null);
  }

  /** Replaces a loaded message. */
  update(message: Message) {
    if (this.messages.peek().some((each) => each.id === message.id)) this.put(message);
  }

  remove(id: string) {
    this.deleted.add(id);
    this.messages.value = this.messages.peek().filter((message) => message.id !== id);
  }

  #see(seq: number) {
    if (seq > this.lastSeq) this.newestSeq.value = seq;
  }

  /** @param drop the end that is dropped when the range is too long */
  #set(messages: Message[], drop: "older" | "newer" | null) {
    if (!this.hasNewer.peek()) this.#see(messages.at(-1)?.seq ?? 0);
    this.messages.value = messages;
    if (messages.length <= MAX_MESSAGES || !drop) return;
    const length = MAX_MESSAGES - SPARE;
    if (drop === "older") {
      this.messages.value = messages.slice(-length);
      this.lowest = this.messages.peek()[0].seq;
      this.hasOlder.value = true;
    } else {
      this.messages.value = messages.slice(0, length);
      this.hasNewer.value = true;
    }
  }
}

const version = (message: Message) => Date.parse(message.updatedAt ?? message.createdAt);
