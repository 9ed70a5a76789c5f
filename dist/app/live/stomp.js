// The STOMP connection: one per tab, over SockJS, reconnecting by itself for as long as somebody is signed in.
//
// What should be subscribed is kept here, apart from any connection, and asked for anew on each. A subscription
// makes its headers at that moment, so that it can say how far it has already read.

import SockJS from "../../vendor/sockjs.js";
import { Client } from "../../vendor/stomp.js";
import { backoff, pauseOrOnline } from "../backoff.js";
import { phase, renew, token } from "../session.js";
import { signal } from "../ui.js";

const HEARTBEAT_MS = 10_000;
const CONNECT_LIMIT_MS = 15_000;
/** A connection that lived this long was a good one: the next failure starts the backoff from its beginning. */
const PROVEN_MS = 10_000;

/**
 * @typedef {object} Wish
 * @property {string} destination
 * @property {(body: any, headers: Record<string, string>) => void} onMessage
 * @property {() => Record<string, string>} headers
 * @property {{unsubscribe(): void} | null} held
 */

/** @typedef {"off" | "connecting" | "on" | "lost"} LinkState */
export const link = signal(/** @type {LinkState} */ ("off"));

/** @type {Set<Wish>} */
const wishes = new Set();
/** @type {Client | null} */
let client = null;
let failures = 0;
let connectedAt = 0;
/** The server ended the last connection with an ERROR: the token, or something subscribed, is no longer good. */
let refused = false;
/** @type {() => Promise<unknown>} */
let recheck = async () => {};

/** @param {{onRefused: () => Promise<unknown>}} options `onRefused` brings what is subscribed up to date */
export function connect({ onRefused }) {
  recheck = onRefused;
  failures = 0;
  refused = false;
  link.value = "connecting";
  const mine = new Client({
    // SockJS objects cannot be used twice, so each attempt makes its own.
    webSocketFactory: () => /** @type {any} */ (new SockJS("/ws")),
    heartbeatIncoming: HEARTBEAT_MS,
    heartbeatOutgoing: HEARTBEAT_MS,
    connectionTimeout: CONNECT_LIMIT_MS,
    // The real waiting, with chance in it, is done in beforeConnect.
    reconnectDelay: 10,
    beforeConnect: () => prepare(mine),
    onConnect: () => connected(mine),
    onStompError: (frame) => {
      refused = true;
      console.warn("STOMP connection refused:", frame.headers["message"], frame.headers["code"] ?? "");
    },
    onWebSocketClose: () => lost(mine),
  });
  client = mine;
  mine.activate();
}

export function disconnect() {
  const old = client;
  client = null;
  link.value = "off";
  for (const wish of wishes) wish.held = null;
  void old?.deactivate();
}

/** @param {Client} mine */
async function prepare(mine) {
  if (failures > 0) await pauseOrOnline(backoff(failures - 1));
  // Whatever goes wrong here must not throw: stompjs would stop trying for good.
  while (client === mine && phase.peek() === "signed-in") {
    try {
      const bearer = refused ? await renew() : await token();
      if (refused) await recheck();
      refused = false;
      mine.connectHeaders = { Authorization: `Bearer ${bearer}` };
      return;
    } catch {
      failures++;
      await pauseOrOnline(backoff(failures - 1));
    }
  }
}

/** @param {Client} mine */
function connected(mine) {
  if (client !== mine) return;
  connectedAt = Date.now();
  // Subscribed before anything is sent, so that no refusal is missed.
  for (const wish of wishes) hold(wish);
  link.value = "on";
}

/** @param {Client} mine */
function lost(mine) {
  if (client !== mine) return;
  const lived = link.peek() === "on" ? Date.now() - connectedAt : 0;
  failures = lived > PROVEN_MS ? 1 : failures + 1;
  for (const wish of wishes) wish.held = null;
  link.value = "lost";
}

/** @param {Wish} wish */
function hold(wish) {
  if (!client?.connected || wish.held) return;
  wish.held = client.subscribe(
    wish.destination,
    (frame) => wish.onMessage(JSON.parse(frame.body), frame.headers),
    wish.headers(),
  );
}

/**
 * @param {string} destination
 * @param {Wish["onMessage"]} onMessage
 * @param {Wish["headers"]} [headers] asked at each subscription
 * @returns {() => void} ends it
 */
export function subscribe(destination, onMessage, headers = () => ({})) {
  /** @type {Wish} */
  const wish = { destination, onMessage, headers, held: null };
  wishes.add(wish);
  hold(wish);
  return () => {
    wishes.delete(wish);
    if (client?.connected) wish.held?.unsubscribe();
    wish.held = null;
  };
}

/**
 * @param {string} destination
 * @param {unknown} body
 * @returns {boolean} false when there is no connection to send it on
 */
export function publish(destination, body) {
  if (!client?.connected) return false;
  client.publish({ destination, body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  return true;
}
