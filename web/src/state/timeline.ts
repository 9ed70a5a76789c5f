// The loaded messages of one channel: a range without gaps, which ends at the newest unless the reader is far up.
import { signal } from "@preact/signals";
import * as api from "../api";
import { inFrame } from "../frames";
import { keptMessages } from "../kept";
import { me } from "../session";
import { quoteOf } from "../text/quote";
import { prepareParser } from "./markdown";
import { retry } from "./retry";
import type { Message, MessagePage, Reaction, Reply } from "../types";

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
  readonly following = signal(true);
  /** New messages are those after this position; null without a divider. */
  readonly divider = signal<number | null>(null);
  /** Counts the jumps of the reader to a message. */
  readonly jumps = signal(0);
  /** Whether the messages are those that this browser has kept, because the server could not be reached. */
  kept = false;
  private target: { seq: number; key: string } | null = null;
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
      await this.#read(null, (page) => this.#startFrom(page, jump || this.following.peek()));
      return true;
    } catch (error) {
      if (this.state.peek() === "loading") this.state.value = "failed";
      console.warn("reading messages failed:", error);
      return false;
    }
  }

  async #showKept() {
    const userId = me.peek()?.id;
    if (this.state.peek() !== "loading" || !userId) return;
    const kept = await keptMessages(userId, this.channelId);
    await prepareParser(kept?.messages.map(({ content }) => content) ?? []);
    if (!kept || this.state.peek() !== "loading") return;
    this.kept = true;
    this.hasOlder.value = kept.hasOlder;
    this.lowest = kept.messages[0]?.seq ?? 0;
    this.state.value = "ready";
    this.#set(kept.messages, null);
  }

  #startFrom(page: MessagePage, jump: boolean) {
    const fresh = this.#undeleted(page).reverse();
    const oldest = fresh[0]?.seq ?? Infinity;
    const newest = fresh.at(-1)?.seq ?? 0;
    // Kept messages may have been edited or deleted since.
    const held = this.kept ? [] : this.messages.peek();
    this.kept = false;
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
    this.#set([...older, ...fresh, ...newer], "older");
  }

  /**
   * Shows the message at a position, or the first one at or after an instant. Of a deleted one, the next one.
   *
   * @returns whether the wanted message is there
   */
  async jumpTo(place: { seq: number } | { at: string }): Promise<boolean> {
    const loaded = "seq" in place ? this.messages.peek().find(({ seq }) => seq === place.seq) : undefined;
    if (loaded) {
      this.#aim(loaded);
      return true;
    }
    const query = "seq" in place ? { around: String(place.seq) } : { at: place.at };
    let found: Message | undefined;
    await this.#readPage(
      () => api.messagesAround(this.channelId, query),
      (page) => {
        const range = this.#undeleted(page).reverse();
        const isHere = (each: Message) =>
          "seq" in place ? each.seq >= place.seq : Date.parse(each.createdAt) >= Date.parse(place.at);
        found = range.find(isHere) ?? range.at(-1);
        this.lowest = page.content.at(-1)?.seq ?? 0;
        this.hasOlder.value = page.hasNext;
        this.hasNewer.value = Boolean(page.previousCursor) || this.lastSeq > (page.content[0]?.seq ?? 0);
        this.state.value = "ready";
        this.following.value = false;
        this.#set(range, null);
        if (found) this.#aim(found);
      },
    );
    return found !== undefined && (!("seq" in place) || found.seq === place.seq);
  }

  #aim(message: Message) {
    this.target = { seq: message.seq, key: keyOf(message) };
    this.jumps.value++;
  }

  /** The message of the last jump, once. */
  takeTarget() {
    const { target } = this;
    this.target = null;
    return target;
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
    // The server's cursor is the seq of the last message of a page.
    await this.#readPage(
      () => (from ? api.messages(this.channelId, String(from.seq), from.end) : api.messages(this.channelId)),
      use,
    );
  }

  async #readPage(get: () => Promise<MessagePage>, use: (page: MessagePage) => void) {
    if (this.reads++ === 0) this.deleted.clear();
    try {
      const page = await retry(get, () => void this.#showKept());
      // Text that changes its form later would move the rows.
      await prepareParser(page.content.map(({ content }) => content));
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
    if (last && !this.hasNewer.peek() && !this.following.peek() && held.length >= MAX_MESSAGES)
      this.hasNewer.value = true;
    if (last && this.hasNewer.peek()) return this.#see(message.seq);
    this.#set(held.toSpliced(before + 1, 0, message), this.following.peek() ? "older" : null);
  }

  /** Replaces a loaded message, and what its replies show of it. */
  update(message: Message) {
    if (this.messages.peek().some((each) => each.id === message.id)) this.put(message);
    this.#changeReplies(message.id, { excerpt: quoteOf(message).excerpt });
  }

  remove(id: string) {
    this.deleted.add(id);
    this.messages.value = this.messages.peek().filter((message) => message.id !== id);
    this.#changeReplies(id, { author: null, excerpt: null, deleted: true });
  }

  #changeReplies(originalId: string, changes: Partial<Reply>) {
    const held = this.messages.peek();
    if (!held.some(({ replyTo }) => replyTo?.id === originalId)) return;
    this.messages.value = held.map((message) =>
      message.replyTo?.id === originalId ? { ...message, replyTo: { ...message.replyTo, ...changes } } : message,
    );
  }

  /**
   * Adds or removes a reaction. Doing it again changes nothing: each comes from the user and from the server.
   *
   * @param place of an emoji that is new on the message
   */
  react(messageId: string, emoji: string, userId: string, added: boolean, place?: number) {
    this.messages.value = this.messages
      .peek()
      .map((message) =>
        message.id === messageId
          ? { ...message, reactions: withReaction(message.reactions ?? [], emoji, userId, added, place) }
          : message,
      );
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

/** The same for a pending message and its stored one. */
export const keyOf = (message: Message) => message.clientMessageId ?? message.id;

/**
 * The server lists the first 50 users; of a longer list, a removal by another one still counts.
 *
 * @param place of a new emoji
 */
export function withReaction(
  reactions: Reaction[],
  emoji: string,
  userId: string,
  added: boolean,
  place: number = reactions.length,
): Reaction[] {
  const held = reactions.find((each) => each.emoji === emoji);
  if (!held) return added ? reactions.toSpliced(place, 0, { emoji, count: 1, userIds: [userId] }) : reactions;
  const listed = held.userIds.includes(userId);
  if (added ? listed : !listed && held.count <= held.userIds.length) return reactions;
  const userIds = added ? [...held.userIds, userId] : held.userIds.filter((each) => each !== userId);
  const changed = { emoji, count: held.count + (added ? 1 : -1), userIds };
  return reactions.flatMap((each) => (each !== held ? each : changed.count > 0 ? changed : []));
}

const version = (message: Message) => Date.parse(message.updatedAt ?? message.createdAt);
