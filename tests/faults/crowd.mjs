// Many thin STOMP clients, or clients that do not read: enough of the protocol to subscribe, without a history.
import WebSocket from "ws";

/** Time before a closed connection is opened again: all of a crowd come back at once. */
const RECONNECT_MS = 300;
const SEQ = /"seq":(\d+)/;

class Member {
  /**
   * @param {string} url
   * @param {string} token
   * @param {string} channel
   */
  constructor(url, token, channel) {
    this.url = url;
    this.token = token;
    this.channel = channel;
    this.isReading = true;
    this.isClosed = false;
    this.isSubscribed = false;
    this.last = 0;
    /** Messages out of place. @type {string[]} */
    this.errors = [];
    this.open();
  }

  open() {
    const socket = new WebSocket(`${this.url.replace("http", "ws")}/ws/websocket`, ["v12.stomp"]);
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => {
      this.isSubscribed = false;
      if (!this.isClosed && this.isReading) setTimeout(() => this.isClosed || this.open(), RECONNECT_MS);
    });
    socket.on("open", () =>
      socket.send(`CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\nAuthorization:Bearer ${this.token}\n\n\0`),
    );
    socket.on("message", (data) => this.#onFrame(String(data)));
  }

  /** @param {string} frame */
  #onFrame(frame) {
    if (frame.startsWith("CONNECTED")) {
      const after = this.last ? `after-seq:${this.last}\n` : "";
      const destination = `destination:/sub/channels.${this.channel}.messages`;
      this.socket?.send(`SUBSCRIBE\nid:0\n${destination}\n${after}receipt:r\n\n\0`);
    } else if (frame.startsWith("RECEIPT")) {
      this.isSubscribed = true;
    } else if (frame.startsWith("MESSAGE")) {
      const seq = Number(SEQ.exec(frame)?.[1]);
      if (this.last && seq !== this.last + 1) this.errors.push(`message ${seq} follows ${this.last}`);
      this.last = seq;
    }
  }

  /** Reads nothing more. */
  stopReading() {
    this.isReading = false;
    this.socket?.pause();
  }

  close() {
    this.isClosed = true;
    this.socket?.terminate();
  }
}

export class Crowd {
  /**
   * @param {object} options
   * @param {string[]} options.urls
   * @param {import("./person.mjs").Person[]} options.people
   * @param {string} options.channel without deletions, which leave holes
   * @param {number} options.count
   */
  constructor({ urls, people, channel, count }) {
    this.members = Array.from(
      { length: count },
      (_, number) => new Member(urls[number % urls.length], people[number % people.length].api.token, channel),
    );
  }

  get isComplete() {
    return this.members.every((member) => member.isSubscribed);
  }

  get errors() {
    return this.members.flatMap((member) => member.errors);
  }

  close() {
    for (const member of this.members) member.close();
  }
}
