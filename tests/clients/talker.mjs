// Somebody who talks in one channel through @stomp/stompjs.
//
// Chromium runs this class too, from its source text: so it uses nothing from outside itself.

/**
 * @typedef {object} Setup
 * @property {{brokerURL: string} | {webSocketFactory: () => any}} socket
 * @property {string} token
 * @property {string} channel its id
 * @property {string} author the id of who the token belongs to
 * @property {number} [reconnectDelay] ms; 0, never, unless given
 */

export class Talker {
  /**
   * @param {new (config: import("@stomp/stompjs").StompConfig) => import("@stomp/stompjs").Client} Client
   * @param {Setup} setup
   */
  constructor(Client, { socket, token, channel, author, reconnectDelay = 0 }) {
    this.channel = channel;
    this.author = author;
    /** Positions and texts of the messages that came, in that order. @type {[number, string][]} */
    this.heard = [];
    /** When a heart-beat left and when one came. @type {{sent: number[], came: number[]}} */
    this.beats = { sent: [], came: [] };
    this.subscribed = 0;
    /** How each connection ended. @type {{code: number, reason: string, wasClean: boolean}[]} */
    this.closed = [];
    /** What should not have come. @type {string[]} */
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
        if (line === ">>> PING") this.beats.sent.push(Date.now());
        if (line === "<<< PONG") this.beats.came.push(Date.now());
      },
    });
  }

  /** Ends when the subscription stands. */
  async open() {
    this.client.activate();
    await this.until("subscribed", () => this.subscribed > 0);
  }

  subscribe() {
    const last = this.heard.at(-1)?.[0];
    const receipt = `subscribed-${this.subscribed}`;
    this.client.watchForReceipt(receipt, () => {
      this.subscribed++;
      this.changed();
    });
    const hear = (/** @type {import("@stomp/stompjs").IMessage} */ message) => {
      const { seq, content } = JSON.parse(message.body);
      this.heard.push([seq, content]);
      this.changed();
    };
    /** @type {Record<string, string>} */
    const headers = { receipt };
    if (last !== undefined) headers["after-seq"] = String(last);
    this.client.subscribe(`/sub/channels.${this.channel}.messages`, hear, headers);
  }

  /** @param {string} content @param {Record<string, string>} [headers] */
  say(content, headers) {
    const body = JSON.stringify({ content, channelId: this.channel, authorId: this.author });
    this.client.publish({ destination: "/pub/messages", body, headers });
  }

  /** Ends when the server says that it is kept. @param {string} content */
  async sayForSure(content) {
    const receipt = `said-${Math.random()}`;
    let kept = false;
    this.client.watchForReceipt(receipt, () => {
      kept = true;
      this.changed();
    });
    this.say(content, { receipt });
    await this.until(`a receipt for ${content}`, () => kept);
  }

  /** @param {number} seq */
  async hears(seq) {
    await this.until(`message ${seq}`, () => (this.heard.at(-1)?.[0] ?? 0) >= seq);
  }

  async close() {
    await this.client.deactivate();
  }

  changed() {
    for (const watcher of this.watchers) watcher();
  }

  /** @param {string} what @param {() => boolean} holds @returns {Promise<void>} */
  until(what, holds) {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.watchers.delete(look);
      };
      const look = () => {
        if (!holds()) return;
        end();
        resolve();
      };
      const timer = setTimeout(() => {
        end();
        const { heard, closed, errors } = this;
        reject(new Error(`not in time: ${what}; ${JSON.stringify({ last: heard.at(-1), closed, errors })}`));
      }, 60_000);
      this.watchers.add(look);
      look();
    });
  }
}
