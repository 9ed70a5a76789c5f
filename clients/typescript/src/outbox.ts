// Sends text messages over STOMP, each of them once and in their order, whatever happens to the connection.
//
// A message is never given up while the server may have it: one that has failed was refused, and is not stored. The server
// stores a clientMessageId once, so a message of which nothing was heard is sent again.

import { backoff, pauseOrOnline } from "./backoff.js";
import { isTransientCode } from "./decisions.js";

/** Longer than the 20 s in which heart-beats find a dead connection, which sends everything again. */
const CONFIRM_TIMEOUT_MS = 30_000;
/** The message was stored, and deleted since. */
const DELETED_CODE = "MESSAGE_NOT_FOUND";

export interface OutboxMessage {
  /** A UUID, which makes a resend harmless. */
  clientMessageId: string;
  /** The outbox leaves those in any other state alone. */
  state: "waiting" | "sent" | (string & {});
  /** Transient refusals so far. */
  tries: number;
}

/** The body of a message on /user/queue/errors. */
export interface Refusal {
  code: string;
  message: string;
  details?: { clientMessageId?: string; replyTo?: string };
}

/** The messages belong to the application, which shows and stores them. */
export interface OutboxOptions<M extends OutboxMessage> {
  /** Those that are not confirmed, in the order of writing. */
  messages: () => readonly M[];
  change: (clientMessageId: string, changes: Pick<Partial<M>, "state" | "tries">) => void;
  /** SENDs the message to /pub/messages. @returns false without a connection */
  publish: (message: M) => boolean;
  /**
   * POSTs the message, because nothing was heard of it. HTTP answers in any case.
   *
   * @throws an error; one with a `code` that is not `transient` is a refusal
   */
  post: (message: M) => Promise<unknown>;
  /** The server has refused the message for good. */
  onRefused: (message: M, refusal: Refusal) => void;
  /** The server has the message, or had it until it was deleted. */
  onStored: (message: M, deleted: boolean) => void;
}

export class Outbox<M extends OutboxMessage> {
  readonly #options: OutboxOptions<M>;
  /** Runs before a retry. Nothing is sent until it fires: later messages would overtake. */
  #retryTimer: ReturnType<typeof setTimeout> | null = null;
  /** By clientMessageId: run until the message is confirmed or refused. */
  readonly #timers: Map<string, ReturnType<typeof setTimeout>> = new Map();
  /** Messages on a connection that has not confirmed them in time. */
  readonly #overdue: Set<string> = new Set();
  #asking = false;

  constructor(options: OutboxOptions<M>) {
    this.#options = options;
  }

  /** Sends what waits. Call it when a message was added. */
  flush() {
    if (this.#retryTimer) return;
    for (const message of this.#options.messages()) {
      if (message.state !== "waiting") continue;
      if (!this.#options.publish(message)) return;
      const { clientMessageId } = message;
      this.#change(clientMessageId, "sent");
      this.forget(clientMessageId);
      const timer = setTimeout(() => {
        this.#overdue.add(clientMessageId);
        void this.#postOverdue();
      }, CONFIRM_TIMEOUT_MS);
      this.#timers.set(clientMessageId, timer);
    }
  }

  /** Sends what is not confirmed again. Call it on each new connection. */
  connected() {
    for (const { clientMessageId, state } of this.#options.messages()) {
      if (state === "sent") this.#change(clientMessageId, "waiting");
    }
    this.flush();
  }

  /**
   * Takes a message from /user/queue/errors.
   *
   * @returns whether a sent message was the cause; other frames can be refused too
   */
  refuse(refusal: Refusal): boolean {
    const id = refusal.details?.clientMessageId;
    const message = this.#options.messages().find((each) => each.state === "sent" && each.clientMessageId === id);
    if (message) this.#refused(message, refusal);
    return message !== undefined;
  }

  /** Call it for each message that is confirmed or removed: the channel delivers one with the same clientMessageId. */
  forget(clientMessageId: string) {
    clearTimeout(this.#timers.get(clientMessageId));
    this.#timers.delete(clientMessageId);
    this.#overdue.delete(clientMessageId);
  }

  #change(clientMessageId: string, state: M["state"], tries?: number) {
    const changes: Pick<Partial<OutboxMessage>, "state" | "tries"> = tries === undefined ? { state } : { state, tries };
    this.#options.change(clientMessageId, changes as Pick<Partial<M>, "state" | "tries">);
  }

  #refused(message: M, refusal: Refusal) {
    const { clientMessageId, tries } = message;
    this.forget(clientMessageId);
    // The message that it replies to is gone.
    if (refusal.details?.replyTo) return this.#options.onRefused(message, refusal);
    if (refusal.code === DELETED_CODE) return this.#options.onStored(message, true);
    if (!isTransientCode(refusal.code)) return this.#options.onRefused(message, refusal);
    this.#change(clientMessageId, "waiting", tries + 1);
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = null;
      this.flush();
    }, backoff(tries));
  }

  /** One after the other, in their order. */
  async #postOverdue() {
    if (this.#asking) return;
    this.#asking = true;
    for (let attempt = 0; ;) {
      const isDue = (each: M) => this.#overdue.has(each.clientMessageId) && each.state === "sent";
      const message = this.#options.messages().find(isDue);
      if (!message) break;
      const { clientMessageId } = message;
      try {
        await this.#options.post(message);
        if (!this.#overdue.has(clientMessageId)) continue;
        this.forget(clientMessageId);
        this.#options.onStored(message, false);
        attempt = 0;
      } catch (error) {
        if (!this.#overdue.has(clientMessageId)) continue;
        const { code, transient } = error as { code?: string; transient?: boolean };
        if (code && !transient) this.#refused(message, error as unknown as Refusal);
        else await pauseOrOnline(backoff(attempt++));
      }
    }
    this.#asking = false;
  }
}
