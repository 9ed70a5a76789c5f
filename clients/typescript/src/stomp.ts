// A STOMP connection that reconnects until it is closed. It uses a WebSocket, and SockJS where none gets through.
//
// Subscriptions are kept here and renewed on each connection. A subscription computes its headers at that moment, so that
// it can resume after the last received message.

import { Client, Versions } from "@stomp/stompjs";
import { backoff, pauseOrOnline } from "./backoff.js";

const HEARTBEAT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 15_000;
/** After a connection of this length, the backoff starts again from its beginning. */
const STABLE_AFTER_MS = 10_000;

/** "lost": it reconnects. */
export type ConnectionState = "off" | "connecting" | "on" | "lost";

/** The class of sockjs-client. */
export type SockJsClass = new (url: string) => object;

export interface StompOptions {
  /** Of the server, such as "https://chat.example.com". */
  server: string;
  /** Gets an access token other than `rejected`. An error means that there is none now: the connection asks again. */
  token: (rejected: string | null) => Promise<string>;
  /** Called before a reconnect when the server has rejected the token or a subscription: ends those no longer allowed. */
  recheck?: () => Promise<unknown>;
  onState?: (state: ConnectionState) => void;
  /** Loads sockjs-client when a WebSocket has failed, which few networks need. */
  loadSockJs?: () => Promise<SockJsClass>;
}

export type OnMessage = (body: any, headers: Record<string, string>) => void;

interface Subscription {
  destination: string;
  onMessage: OnMessage;
  headers: () => Record<string, string>;
  active: { unsubscribe(): void } | null;
}

/** A subscription that goes on after its last message on each connection. */
export interface Following {
  /** The seq of the last message that was delivered. */
  readonly position: number | null;
  end(): void;
}

export class StompConnection {
  readonly #options: StompOptions;
  readonly #subscriptions: Set<Subscription> = new Set();
  #client: Client | null = null;
  #state: ConnectionState = "off";
  #failures = 0;
  #connectedAt = 0;
  #bearer: string | null = null;
  /** The server ended the last connection with an ERROR: the token or a subscription is no longer valid. */
  #rejected = false;
  /** Null for a WebSocket. */
  #sockJs: SockJsClass | null = null;
  /** Whether the next connection uses SockJS. */
  #overSockJs = false;

  constructor(options: StompOptions) {
    this.#options = options;
  }

  get state() {
    return this.#state;
  }

  connect() {
    this.#failures = 0;
    this.#rejected = false;
    this.#overSockJs = false;
    this.#setState("connecting");
    const current: Client = new Client({
      // A socket connects only once.
      webSocketFactory: () => this.#openSocket() as any,
      // A browser would wait for the answer of a server that is out of reach.
      discardWebsocketOnCommFailure: true,
      heartbeatIncoming: HEARTBEAT_MS,
      heartbeatOutgoing: HEARTBEAT_MS,
      connectionTimeout: CONNECT_TIMEOUT_MS,
      // beforeConnect waits, with backoff.
      reconnectDelay: 10,
      beforeConnect: () => this.#prepare(current),
      onConnect: () => this.#connected(current),
      onStompError: (frame) => {
        this.#rejected = true;
        console.warn("STOMP connection rejected:", frame.headers["message"], frame.headers["code"] ?? "");
      },
      onWebSocketClose: () => this.#lost(current),
    });
    this.#client = current;
    current.activate();
  }

  disconnect() {
    const old = this.#client;
    this.#client = null;
    this.#setState("off");
    for (const subscription of this.#subscriptions) subscription.active = null;
    void old?.deactivate();
  }

  /** Replaces a connection that is probably dead. */
  reconnect() {
    this.#client?.forceDisconnect();
  }

  /**
   * @param headers called at each subscription
   * @returns unsubscribes
   */
  subscribe(destination: string, onMessage: OnMessage, headers: () => Record<string, string> = () => ({})): () => void {
    const subscription: Subscription = { destination, onMessage, headers, active: null };
    this.#subscriptions.add(subscription);
    this.#activate(subscription);
    return () => {
      this.#subscriptions.delete(subscription);
      if (this.#client?.connected) subscription.active?.unsubscribe();
      subscription.active = null;
    };
  }

  /**
   * Subscribes to messages with a seq. Each connection goes on after the last one that was delivered, so that none is lost or
   * doubled. When the server cannot deliver all that are missing, it sends a message with the header `gap`, "true", and the
   * body `{fromSeq, toSeq}`: read those with GET /api/messages.
   *
   * @param after the seq of the last message that the client has; null for new messages only, until the first arrives
   */
  follow(destination: string, after: number | null, onMessage: OnMessage): Following {
    let position = after;
    const end = this.subscribe(
      destination,
      (body, headers) => {
        const seq = headers["gap"] === "true" ? body?.toSeq : body?.seq;
        if (typeof seq === "number" && seq > (position ?? 0)) position = seq;
        onMessage(body, headers);
      },
      (): Record<string, string> => (position === null ? {} : { "after-seq": String(position) }),
    );
    return {
      get position() {
        return position;
      },
      end,
    };
  }

  /** @returns false without a connection */
  publish(destination: string, body: unknown): boolean {
    if (!this.#client?.connected) return false;
    const headers = { "content-type": "application/json" };
    this.#client.publish({ destination, body: JSON.stringify(body), headers });
    return true;
  }

  #setState(next: ConnectionState) {
    this.#state = next;
    this.#options.onState?.(next);
  }

  #openSocket() {
    const url = `${this.#options.server.replace(/\/$/, "")}/ws`;
    if (this.#sockJs) return new this.#sockJs(url);
    return new WebSocket(`${url.replace(/^http/, "ws")}/websocket`, Versions.default.protocolVersions());
  }

  async #prepare(current: Client) {
    if (this.#failures > 0) await pauseOrOnline(backoff(this.#failures - 1));
    // No error may leave this function: stompjs would stop reconnecting.
    while (this.#client === current) {
      try {
        this.#sockJs = this.#overSockJs ? ((await this.#options.loadSockJs?.()) ?? null) : null;
        this.#bearer = await this.#options.token(this.#rejected ? this.#bearer : null);
        if (this.#rejected) await this.#options.recheck?.();
        this.#rejected = false;
        current.connectHeaders = { Authorization: `Bearer ${this.#bearer}` };
        return;
      } catch {
        // Without SockJS's script, the next attempt is a WebSocket again.
        if (!this.#sockJs) this.#overSockJs = false;
        this.#failures++;
        await pauseOrOnline(backoff(this.#failures - 1));
      }
    }
  }

  #connected(current: Client) {
    if (this.#client !== current) return;
    this.#connectedAt = performance.now();
    // Subscribes before any SEND, so that no error frame is missed.
    for (const subscription of this.#subscriptions) this.#activate(subscription);
    this.#setState("on");
  }

  #lost(current: Client) {
    if (this.#client !== current) return;
    const isOn = this.#state === "on";
    const uptime = isOn ? performance.now() - this.#connectedAt : 0;
    this.#failures = uptime > STABLE_AFTER_MS ? 1 : this.#failures + 1;
    // A proxy or the network may block this transport. Without a network, both fail in turn.
    if (!isOn && !this.#rejected) this.#overSockJs = !this.#overSockJs;
    for (const subscription of this.#subscriptions) subscription.active = null;
    this.#setState("lost");
  }

  #activate(subscription: Subscription) {
    if (!this.#client?.connected || subscription.active) return;
    subscription.active = this.#client.subscribe(
      subscription.destination,
      (frame) => subscription.onMessage(JSON.parse(frame.body), frame.headers),
      subscription.headers(),
    );
  }
}
