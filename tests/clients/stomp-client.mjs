// A user of one channel, through @stomp/stompjs.
//
// Chromium runs this class from its source text, so the class refers to nothing outside itself.

/**
 * @typedef {object} Options
 * @property {{brokerURL: string} | {webSocketFactory: () => any}} socket
 * @property {string} token
 * @property {string} channel its id
 * @property {string} author the id of the token's user
 * @property {number} [reconnectDelay] ms; by default 0: no reconnect
 */

export class StompClient {
  /**
   * @param {new (config: import("@stomp/stompjs").StompConfig) => import("@stomp/stompjs").Client} Client
   * @param {Options} options
   */
  constructor(Client, { socket, token, channel, author, reconnectDelay = 0 }) {
    this.channel = channel;
    this.author = author;
    /** Positions and texts of received messages, in order of arrival. @type {[number, string][]} */
    this.received = [];
    /** Times of heart-beats. @type {{sent: number[], received: number[]}} */
    this.heartBeats = { sent: [], received: [] };
    this.subscribed = 0;
    /** Close event of each connection. @type {{code: number, reason: string, wasClean: boolean}[]} */
    this.closed = [];
    /** Unexpected frames. @type {string[]} */
    this.errors = [];
    /** @type {Set<() => void>} */
    this.watchers = new Set();
    this.client = new Client({
      ...socket,
      connectHeaders: { Authorization: `Bearer ${token}` },
      reconnectDelay,
      onConnect: () => this.subscribe(),
      onStompError: (frame) => this.errors.push(`ERROR ${JSON.stringify(frame.headers)}`),
      onUnhandledMessage: (frame) => this.errors.push(`a stray MESSAGE ${frame.body}`),
      onUnhandledReceipt: (frame) => this.errors.push(`a stray RECEIPT ${JSON.stringify(frame.headers)}`),
      onWebSocketClose: ({ code, reason, wasClean }) => {
        this.closed.push({ code, reason, wasClean });
        this.changed();
      },
      debug: (line) => {
        if (line === ">>> PING") this.heartBeats.sent.push(Date.now());
        if (line === "<<< PONG") this.heartBeats.received.push(Date.now());
      },
    });
  }

  /** Connects and waits until the server confirms the subscription. */
  async open() {
    this.client.activate();
    await this.until("subscribed", () => this.subscribed > 0);
  }

  subscribe() {
    const last = this.received.at(-1)?.[0];
    const receipt = `subscribed-${this.subscribed}`;
    this.client.watchForReceipt(receipt, () => {
      this.subscribed++;
      this.changed();
    });
    const receive = (/** @type {import("@stomp/stompjs").IMessage} */ message) => {
      const { seq, content } = JSON.parse(message.body);
      this.received.push([seq, content]);
      this.changed();
    };
    /** @type {Record<string, string>} */
    const headers = { receipt };
    if (last !== undefined) headers["after-seq"] = String(last);
    this.client.subscribe(`/sub/channels.${this.channel}.messages`, receive, headers);
  }

  /** @param {string} content @param {Record<string, string>} [headers] */
  send(content, headers) {
    const body = JSON.stringify({ content, channelId: this.channel, authorId: this.author });
    this.client.publish({ destination: "/pub/messages", body, headers });
  }

  /** Sends a message and waits for its RECEIPT. @param {string} content */
  async sendWithReceipt(content) {
    const receipt = `sent-${Math.random()}`;
    let stored = false;
    this.client.watchForReceipt(receipt, () => {
      stored = true;
      this.changed();
    });
    this.send(content, { receipt });
    await this.until(`a receipt for ${content}`, () => stored);
  }

  /** Waits for the message at this position. @param {number} seq */
  async receives(seq) {
    await this.until(`message ${seq}`, () => (this.received.at(-1)?.[0] ?? 0) >= seq);
  }

  async close() {
    await this.client.deactivate();
  }

  changed() {
    for (const watcher of this.watchers) watcher();
  }

  /** @param {string} description @param {() => boolean} condition @returns {Promise<void>} */
  until(description, condition) {
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        this.watchers.delete(check);
      };
      const check = () => {
        if (!condition()) return;
        stop();
        resolve();
      };
      const timer = setTimeout(() => {
        stop();
        const { received, closed, errors } = this;
        reject(new Error(`timeout: ${description}; ${JSON.stringify({ last: received.at(-1), closed, errors })}`));
      }, 60_000);
      this.watchers.add(check);
      check();
    });
  }
}
