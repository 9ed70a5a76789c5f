// The STOMP connection: one per tab, over SockJS, reconnecting while a user is signed in.
//
// Subscriptions are kept here and renewed on each connection. A subscription computes its headers at that moment, so that
// it can resume after the last received message.

import SockJS from "sockjs-client";
import { Client } from "@stomp/stompjs";
import { signal } from "@preact/signals";
import { backoff, pauseOrOnline } from "../backoff";
import { phase, renew, token } from "../session";

const HEARTBEAT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 15_000;
/** After a connection of this length, the backoff starts again from its beginning. */
const STABLE_AFTER_MS = 10_000;

export interface Subscription {
  destination: string;
  onMessage: (body: any, headers: Record<string, string>) => void;
  headers: () => Record<string, string>;
  active: { unsubscribe(): void } | null;
}

export type ConnectionState = "off" | "connecting" | "on" | "lost";
export const connection = signal<ConnectionState>("off");

const subscriptions: Set<Subscription> = new Set();
let client: Client | null = null;
let failures = 0;
let connectedAt = 0;
/** The server ended the last connection with an ERROR: the token or a subscription is no longer valid. */
let rejected = false;
let recheck: () => Promise<unknown> = async () => {};

/** @param options `onRejected` updates the subscriptions */
export function connect({ onRejected }: { onRejected: () => Promise<unknown> }) {
  recheck = onRejected;
  failures = 0;
  rejected = false;
  connection.value = "connecting";
  const current: Client = new Client({
    // A SockJS object connects only once.
    webSocketFactory: () => new SockJS("/ws") as any,
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
  connection.value = "off";
  for (const subscription of subscriptions) subscription.active = null;
  void old?.deactivate();
}

async function prepare(current: Client) {
  if (failures > 0) await pauseOrOnline(backoff(failures - 1));
  // No error may leave this function: stompjs would stop reconnecting.
  while (client === current && phase.peek() === "signed-in") {
    try {
      const bearer = rejected ? await renew() : await token();
      if (rejected) await recheck();
      rejected = false;
      current.connectHeaders = { Authorization: `Bearer ${bearer}` };
      return;
    } catch {
      failures++;
      await pauseOrOnline(backoff(failures - 1));
    }
  }
}

function connected(current: Client) {
  if (client !== current) return;
  connectedAt = Date.now();
  // Subscribes before any SEND, so that no error frame is missed.
  for (const subscription of subscriptions) activate(subscription);
  connection.value = "on";
}

function lost(current: Client) {
  if (client !== current) return;
  const uptime = connection.peek() === "on" ? Date.now() - connectedAt : 0;
  failures = uptime > STABLE_AFTER_MS ? 1 : failures + 1;
  for (const subscription of subscriptions) subscription.active = null;
  connection.value = "lost";
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
