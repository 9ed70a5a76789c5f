// A STOMP client that reconnects, resumes, and records what it sees.
import { Client } from "@stomp/stompjs";
import { socket } from "../clients/transports.mjs";

/** How often stompjs sends and expects a heart-beat; it gives a connection up after twice the time. */
const HEART_BEAT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 5_000;
const RECEIPT_TIMEOUT_MS = 15_000;
/** Codes of ERROR frames for a session that Redis has lost. */
const SIGNED_OUT = new Set(["UNAUTHENTICATED", "SESSION_ENDED"]);
/** Codes of ERROR frames after which a client tries again. */
const TEMPORARY = new Set([...SIGNED_OUT, "SERVICE_UNAVAILABLE", "HEART_BEAT_TIMEOUT", "CONNECT_TIMEOUT"]);

/** @typedef {{outcome: import("./history.mjs").Outcome, reason?: string}} Answer */

export class StompUser {
  /**
   * @param {object} options
   * @param {import("./history.mjs").History} options.history
   * @param {string} options.name
   * @param {import("./person.mjs").Person} options.person
   * @param {string} options.transport as in tests/clients
   * @param {string} options.url
   * @param {string[]} options.rooms
   * @param {boolean} options.watchesChanges whether it subscribes to edits and deletions
   * @param {number} options.reconnectDelay ms
   */
  constructor({ history, name, person, transport, url, rooms, watchesChanges, reconnectDelay }) {
    this.history = history;
    this.name = name;
    this.person = person;
    this.rooms = new Set(rooms);
    this.watchesChanges = watchesChanges;
    this.connections = 0;
    /** Confirmed subscriptions of this connection. */
    this.confirmed = 0;
    /** Last position in each channel. @type {Map<string, number>} */
    this.last = new Map();
    /** SENDs without an answer. @type {Map<string, (answer: Answer) => void>} */
    this.waiting = new Map();
    /** Records of this connection's subscriptions. @type {import("./history.mjs").Subscription[]} */
    this.subscriptions = [];
    history.clients.set(name, { name, user: person.id, kind: "stomp", isSteady: true });
    this.client = new Client({
      ...socket(transport, url),
      reconnectDelay,
      connectionTimeout: CONNECT_TIMEOUT_MS,
      heartbeatIncoming: HEART_BEAT_MS,
      heartbeatOutgoing: HEART_BEAT_MS,
      discardWebsocketOnCommFailure: true,
      beforeConnect: async (client) => {
        await person.signingIn;
        client.connectHeaders = { Authorization: `Bearer ${person.api.token}` };
      },
      onConnect: () => this.#subscribeAll(),
      onStompError: (frame) => this.#onError(frame),
      onWebSocketClose: () => this.#onClose(),
    });
  }

  open() {
    this.client.activate();
  }

  async close() {
    await this.client.deactivate({ force: true });
    this.#onClose();
  }

  get connection() {
    return `${this.name} ${this.connections}`;
  }

  /** Whether every subscription of the present connection is confirmed. */
  get isSubscribed() {
    return this.client.connected && this.confirmed >= this.rooms.size * (this.watchesChanges ? 2 : 1);
  }

  #subscribeAll() {
    this.connections++;
    this.confirmed = 0;
    this.subscriptions = [];
    for (const room of this.rooms) {
      const after = this.last.get(room) ?? 0;
      this.#subscribe(room, "messages", after);
      if (this.watchesChanges) this.#subscribe(room, "events");
    }
  }

  /** @param {string} channel @param {"messages" | "events"} stream @param {number} [after] */
  #subscribe(channel, stream, after) {
    const connection = this.connection;
    const receipt = `subscribed-${channel}-${stream}`;
    /** @type {import("./history.mjs").Subscription} */
    const subscription = { client: this.name, connection, channel, stream, after, at: Infinity };
    this.history.subscriptions.push(subscription);
    this.subscriptions.push(subscription);
    this.client.watchForReceipt(receipt, () => {
      subscription.at = Date.now();
      this.confirmed++;
    });
    /** @type {Record<string, string>} */
    const headers = { receipt };
    if (after !== undefined) headers["after-seq"] = String(after);
    const receive = (/** @type {import("@stomp/stompjs").IMessage} */ message) => {
      const at = Date.now();
      const body = JSON.parse(message.body);
      if (stream === "events") this.#onChange(channel, connection, body, at);
      else if (message.headers.gap === "true") this.#onGap(channel, body);
      else this.#onMessage(channel, connection, body, at);
    };
    this.client.subscribe(`/sub/channels.${channel}.${stream}`, receive, headers);
  }

  /** @param {string} channel @param {string} connection @param {any} body @param {number} at */
  #onMessage(channel, connection, { id, seq, content, clientMessageId }, at) {
    this.last.set(channel, Math.max(seq, this.last.get(channel) ?? 0));
    this.history.deliver({ client: this.name, connection, channel, seq, id, send: clientMessageId, text: content, at });
  }

  /** @param {string} channel @param {{fromSeq: number, toSeq: number}} gap */
  #onGap(channel, { fromSeq, toSeq }) {
    this.last.set(channel, toSeq);
    this.history.gaps.push({ client: this.name, channel, from: fromSeq, to: toSeq });
  }

  /** @param {string} channel @param {string} connection @param {any} body @param {number} at */
  #onChange(channel, connection, { type, message, messageId }, at) {
    if (type === "typing") return;
    const notice = { client: this.name, connection, channel, type, at };
    this.history.notices.push({ ...notice, id: messageId ?? message.id, text: message?.content });
  }

  /** @param {import("@stomp/stompjs").IFrame} frame */
  #onError({ headers }) {
    const code = headers.code ?? "";
    const reason = `${code} ${headers.message}`;
    if (SIGNED_OUT.has(code)) void this.person.signInAgain();
    const outcome = TEMPORARY.has(code) ? "unknown" : "refused";
    const answer = this.waiting.get(headers["receipt-id"] ?? "");
    if (answer) return answer({ outcome, reason });
    // A SUBSCRIBE may cross the removal of its user.
    const isRemoved = code === "CHANNEL_NOT_FOUND" && this.history.rights.some(({ user }) => user === this.person.id);
    if (outcome === "refused" && !isRemoved) {
      this.history.refusals.push({ client: this.name, text: `ERROR ${reason}`, at: Date.now() });
    }
  }

  #onClose() {
    for (const subscription of this.subscriptions) subscription.endedAt ??= Date.now();
    for (const answer of [...this.waiting.values()]) answer({ outcome: "unknown", reason: "the connection ended" });
  }

  /**
   * Sends the message once.
   *
   * @param {import("./history.mjs").Send} send
   * @returns {Promise<Answer> | undefined} nothing when the client is not connected
   */
  send({ id, channel, text, author, tries }) {
    if (!this.client.connected) return undefined;
    const receipt = `sent-${id}-${tries}`;
    return new Promise((resolve) => {
      /** @type {NodeJS.Timeout | undefined} */
      let timer;
      /** @param {Answer} answer */
      const answer = (answer) => {
        clearTimeout(timer);
        this.waiting.delete(receipt);
        resolve(answer);
      };
      timer = setTimeout(() => answer({ outcome: "unknown", reason: "no receipt" }), RECEIPT_TIMEOUT_MS);
      this.waiting.set(receipt, answer);
      try {
        this.client.watchForReceipt(receipt, () => answer({ outcome: "accepted" }));
        const body = JSON.stringify({ content: text, channelId: channel, authorId: author, clientMessageId: id });
        this.client.publish({ destination: "/pub/messages", body, headers: { receipt } });
      } catch (error) {
        answer({ outcome: "unknown", reason: String(error) });
      }
    });
  }
}
