// STOMP clients over each transport that stompjs can use in Node.
import { Client } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import WebSocket from "ws";
import { StompClient } from "./stomp-client.mjs";

// Node 20 has no global WebSocket, which stompjs uses.
Object.assign(globalThis, { WebSocket });

/** SockJS allows a transport a few hundred ms by default, too little on a loaded machine. */
export const SOCKJS_TIMEOUT_MS = 20_000;
/** Transports of sockjs-client that work in Node. */
export const SOCKJS_IN_NODE = ["websocket", "xhr-streaming", "xhr-polling", "eventsource"];
/** All transports in Node. */
export const TRANSPORTS = ["raw WebSocket", ...SOCKJS_IN_NODE.map((transport) => `SockJS ${transport}`)];

/** @param {string} transport @param {string} url @returns {import("./stomp-client.mjs").Options["socket"]} */
export function socket(transport, url) {
  if (transport === "raw WebSocket") return { brokerURL: `${url.replace("http", "ws")}/ws/websocket` };
  const transports = transport.replace("SockJS ", "");
  return { webSocketFactory: () => new SockJS(`${url}/ws`, null, { transports, timeout: SOCKJS_TIMEOUT_MS }) };
}

/**
 * @param {string} transport one of {@link TRANSPORTS}
 * @param {string} url
 * @param {{user: {id: string}, token: string}} person
 * @param {string} channel
 * @param {number} [reconnectDelay]
 */
export function stompClient(transport, url, { user, token }, channel, reconnectDelay) {
  return new StompClient(Client, { socket: socket(transport, url), token, channel, author: user.id, reconnectDelay });
}
