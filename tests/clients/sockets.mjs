// The ways in which stompjs can reach the server from Node.
import { Client } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import WebSocket from "ws";
import { Talker } from "./talker.mjs";

// Node 20 has none of its own, and stompjs asks for the global one.
Object.assign(globalThis, { WebSocket });

/** SockJS gives a transport a few hundred ms, and then takes the next one: too little on a loaded machine. */
export const SOCKJS_PATIENCE_MS = 20_000;
/** What sockjs-client can do in Node. */
export const SOCKJS_IN_NODE = ["websocket", "xhr-streaming", "xhr-polling", "eventsource"];
/** Every way from Node. */
export const WAYS = ["raw WebSocket", ...SOCKJS_IN_NODE.map((transport) => `SockJS ${transport}`)];

/** @param {string} way @param {string} url @returns {import("./talker.mjs").Setup["socket"]} */
function socket(way, url) {
  if (way === "raw WebSocket") return { brokerURL: `${url.replace("http", "ws")}/ws/websocket` };
  const transports = way.replace("SockJS ", "");
  return { webSocketFactory: () => new SockJS(`${url}/ws`, null, { transports, timeout: SOCKJS_PATIENCE_MS }) };
}

/**
 * @param {string} way one of {@link WAYS}
 * @param {string} url
 * @param {{user: {id: string}, token: string}} person
 * @param {string} channel
 * @param {number} [reconnectDelay]
 */
export function talker(way, url, { user, token }, channel, reconnectDelay) {
  return new Talker(Client, { socket: socket(way, url), token, channel, author: user.id, reconnectDelay });
}
