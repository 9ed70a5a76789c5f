// The STOMP connection: one per tab, over SockJS, reconnecting while a user is signed in.
//
// Subscriptions are kept here and renewed on each connection. A subscription computes its headers at that moment, so that
// it can resume after the last received message.

import SockJS from "../../vendor/sockjs.js";
import { Client } from "../../vendor/stomp.js";
import { backoff, pauseOrOnline } from "../backoff.js";
import { phase, renew, token } from "../session.js";
import { signal } from "../ui.js";

const HEARTBEAT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 15_000;
/** After a connection of this length, the backoff starts again from its beginning. */
const STABLE_AFTER_MS = 10_000;

/**
 * @typedef {object} Subscription
 * @property {string} destination
 * @property {(body: any, headers: Record<string, string>) => void} onMessage
 * @property {() => Record<string, string>} headers
 * @property {{unsubscribe(): void} | null} active
 */

/** @typedef {"off" | "connecting" | "on" | "lost"} ConnectionState */
export const connection = signal(/** @type {ConnectionState} */ ("off"));

/** @type {Set<Subscription>} */
const subscriptions = new Set();
/** @type {Client | null} */
let client = null;
let failures = 0;
let connectedAt = 0;
/** The server ended the last connection with an ERROR: the token or a subscription is no longer valid. */
let rejected = false;
/** @type {() => Promise<unknown>} */
let recheck = async () => {};

/** @param {{onRejected: () => Promise<unknown>}} options `onRejected` updates the subscriptions */
export function connect({ onRejected }) {
  recheck = onRejected;
  failures = 0;
  rejected = false;
  connection.value = "connecting";
  const current = new Client({
    // A SockJS object connects only once.
    webSocketFactory: () => /** @type {any} */ (new SockJS("/ws")),
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

/** @param {Client} current */
async function prepare(current) {
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

/** @param {Client} current */
function connected(current) {
  if (client !== current) return;
  connectedAt = Date.now();
  // Subscribes before any SEND, so that no error frame is missed.
  for (const subscription of subscriptions) activate(subscription);
  connection.value = "on";
}

/** @param {Client} current */
function lost(current) {
  if (client !== current) return;
  const uptime = connection.peek() === "on" ? Date.now() - connectedAt : 0;
  failures = uptime > STABLE_AFTER_MS ? 1 : failures + 1;
  for (const subscription of subscriptions) subscription.active = null;
  connection.value = "lost";
}

/** @param {Subscription} subscription */
function activate(subscription) {
  if (!client?.connected || subscription.active) return;
  subscription.active = client.subscribe(
    subscription.destination,
    (frame) => subscription.onMessage(JSON.parse(frame.body), frame.headers),
    subscription.headers(),
  );
}

/**
 * @param {string} destination
 * @param {Subscription["onMessage"]} onMessage
 * @param {Subscription["headers"]} [headers] called at each subscription
 * @returns {() => void} unsubscribes
 */
export function subscribe(destination, onMessage, headers = () => ({})) {
  /** @type {Subscription} */
  const subscription = { destination, onMessage, headers, active: null };
  subscriptions.add(subscription);
  activate(subscription);
  return () => {
    subscriptions.delete(subscription);
    if (client?.connected) subscription.active?.unsubscribe();
    subscription.active = null;
  };
}

/**
 * @param {string} destination
 * @param {unknown} body
 * @returns {boolean} false without a connection
 */
export function publish(destination, body) {
  if (!client?.connected) return false;
  client.publish({ destination, body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  return true;
}
