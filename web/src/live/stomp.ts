// The STOMP connection, reconnecting until disconnect(). It uses a WebSocket, and SockJS where none gets through.
//
// Subscriptions are kept here and renewed on each connection. A subscription computes its headers at that moment, so that
// it can resume after the last received message.

import { Client, Versions } from "@stomp/stompjs";
import { backoff, pauseOrOnline } from "../backoff";
import type { ConnectionState } from "./protocol";

const HEARTBEAT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 15_000;
const ADDRESS = `${location.origin.replace(/^http/, "ws")}/ws/websocket`;
const STOMP_VERSIONS = Versions.default.protocolVersions();
/** After a connection of this length, the backoff starts again from its beginning. */
const STABLE_AFTER_MS = 10_000;

export interface Subscription {
  destination: string;
  onMessage: (body: any, headers: Record<string, string>) => void;
  headers: () => Record<string, string>;
  active: { unsubscribe(): void } | null;
}

export interface Options {
  /** Gets a token other than `rejected`. */
  token: (rejected: string | null) => Promise<string>;
  /** Ends the subscriptions that are no longer valid. */
  recheck: () => Promise<unknown>;
  onState: (state: ConnectionState) => void;
}

const subscriptions: Set<Subscription> = new Set();
let client: Client | null = null;
let options: Options;
let state: ConnectionState = "off";
let failures = 0;
let connectedAt = 0;
let bearer: string | null = null;
/** The server ended the last connection with an ERROR: the token or a subscription is no longer valid. */
let rejected = false;
/** Loaded when a WebSocket has failed, which few browsers need. Null for a WebSocket. */
let SockJS: typeof import("sockjs-client") | null = null;
/** Whether the next connection uses SockJS. */
let overSockJs = false;

function setState(next: ConnectionState) {
  state = next;
  options.onState(next);
}

export function connect(given: Options) {
  options = given;
  failures = 0;
  rejected = false;
  overSockJs = false;
  setState("connecting");
  const current: Client = new Client({
    // A SockJS object connects only once.
    webSocketFactory: () => (SockJS ? (new SockJS("/ws") as any) : new WebSocket(ADDRESS, STOMP_VERSIONS)),
    // A browser would wait for the answer of a server that is out of reach.
    discardWebsocketOnCommFailure: true,
    heartbeatIncoming: HEARTBEAT_MS,
    heartbeatOutgoing: HEARTBEAT_MS,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    // beforeConnect waits, with backoff.
    reconnectDelay: 10,
    beforeConnect: () => prepare(current),
    onConnect: () => connected(current),
    onStompError: (frame) => {
      rejected = true;
      console.warn("STOMP connection rejected:", frame.headers["message"], frame.headers["code"] ?? "");
    },
    onWebSocketClose: () => lost(current),
  });
  client = current;
  current.activate();
}

export function disconnect() {
  const old = client;
  client = null;
  setState("off");
  for (const subscription of subscriptions) subscription.active = null;
  void old?.deactivate();
}

/** Replaces a connection that is probably dead. */
export const reconnect = () => client?.forceDisconnect();

async function prepare(current: Client) {
  if (failures > 0) await pauseOrOnline(backoff(failures - 1));
  // No error may leave this function: stompjs would stop reconnecting.
  while (client === current) {
    try {
      SockJS = overSockJs ? (await import("sockjs-client")).default : null;
      bearer = await options.token(rejected ? bearer : null);
      if (rejected) await options.recheck();
      rejected = false;
      current.connectHeaders = { Authorization: `Bearer ${bearer}` };
      return;
    } catch {
      // Without SockJS's script, the next attempt is a WebSocket again.
      if (overSockJs && !SockJS) overSockJs = false;
      failures++;
      await pauseOrOnline(backoff(failures - 1));
    }
  }
}

function connected(current: Client) {
  if (client !== current) return;
  connectedAt = performance.now();
  // Subscribes before any SEND, so that no error frame is missed.
  for (const subscription of subscriptions) activate(subscription);
  setState("on");
}

function lost(current: Client) {
  if (client !== current) return;
  const uptime = state === "on" ? performance.now() - connectedAt : 0;
  failures = uptime > STABLE_AFTER_MS ? 1 : failures + 1;
  // A proxy or the network may block this transport. Without a network, both fail in turn.
  if (state !== "on" && !rejected) overSockJs = !overSockJs;
  for (const subscription of subscriptions) subscription.active = null;
  setState("lost");
}

function activate(subscription: Subscription) {
  if (!client?.connected || subscription.active) return;
  subscription.active = client.subscribe(
    subscription.destination,
    (frame) => subscription.onMessage(JSON.parse(frame.body), frame.headers),
    subscription.headers(),
  );
}

/**
 * @param headers called at each subscription
 * @returns unsubscribes
 */
export function subscribe(
  destination: string,
  onMessage: Subscription["onMessage"],
  headers: Subscription["headers"] = () => ({}),
): () => void {
  const subscription: Subscription = { destination, onMessage, headers, active: null };
  subscriptions.add(subscription);
  activate(subscription);
  return () => {
    subscriptions.delete(subscription);
    if (client?.connected) subscription.active?.unsubscribe();
    subscription.active = null;
  };
}

/** @returns false without a connection */
export function publish(destination: string, body: unknown): boolean {
  if (!client?.connected) return false;
  client.publish({ destination, body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  return true;
}
