// This tab's link to the connections that all tabs of the user share, see hub.ts.
//
// The connections live in a SharedWorker, and not in a tab that the others elect: Web Locks, which an election needs, are
// missing on plain HTTP, where the limit of six connections hurts; and nothing has to be handed over when a tab ends.
// Where a SharedWorker is missing (Chrome on Android) or does not start (storage blocked), the page runs the same script.

import { signal } from "@preact/signals";
import { backoff, pauseOrOnline } from "discodeit-client";
import { tokenOtherThan } from "../session";
import hubScript from "./shared?worker&url";
import type { ConnectionState } from "discodeit-client";
import type { ToHub, ToTab } from "./protocol";

/** "outdated": the server has a newer app, and this page's script is gone. */
export const connection = signal<ConnectionState | "outdated">("off");

/** A worker that leaves this many pings without an answer has crashed. */
const MAX_UNANSWERED = 3;
const PING_MS = 15_000;

export interface Handlers {
  /** By name of the server-sent event. */
  events: Record<string, (data: any) => void>;
  /** Ends the subscriptions that no longer make sense. */
  onRejected: () => Promise<unknown>;
  /** Ends the subscriptions that are not on screen. */
  onTooMany: () => void;
}

interface Subscription {
  destination: string;
  onMessage: (body: any, headers: Record<string, string>) => void;
  after: () => number | null;
}

const subscriptions: Set<Subscription> = new Set();
let port: MessagePort | null = null;
let user: string | null = null;
let handlers: Handlers | null = null;
let connectionNumber = 0;
/** Set once this tab has read its lists. */
let listening: { cursor: string | null } | null = null;
/** A SharedWorker does not start, or has crashed. */
let alone = false;
let unanswered = 0;
let pinging: ReturnType<typeof setInterval> | undefined;

export function openLink(userId: string, callbacks: Handlers) {
  user = userId;
  handlers = callbacks;
  connection.value = "connecting";
  void start();
}

export function closeLink() {
  stop();
  user = null;
  handlers = null;
  listening = null;
  connection.value = "off";
}

/** @param cursor the position in the event stream at which the lists were read */
export function listen(cursor: string | null) {
  listening = { cursor };
  post({ type: "listen", cursor });
}

/**
 * @param after the last position that this tab has, computed at each subscription
 * @returns unsubscribes; `gone`: because the user may no longer read the channel
 */
export function subscribe(
  destination: string,
  onMessage: Subscription["onMessage"],
  after: Subscription["after"] = () => null,
): (gone?: boolean) => void {
  const subscription: Subscription = { destination, onMessage, after };
  subscriptions.add(subscription);
  post({ type: "subscribe", destination, after: after() });
  return (gone = false) => {
    if (subscriptions.delete(subscription)) post({ type: "unsubscribe", destination, gone });
  };
}

/** @returns false without a connection */
export function publish(destination: string, body: unknown): boolean {
  if (connection.peek() !== "on") return false;
  post({ type: "publish", connection: connectionNumber, destination, body });
  return true;
}

function post(message: ToHub) {
  port?.postMessage(message);
}

async function start() {
  for (let attempt = 0; user && !port; attempt++) {
    const owner = user;
    const opened = alone ? await portInPage() : portToWorker(owner);
    if (opened && user === owner && !port) return begin(opened);
    opened?.close();
    if (alone && !opened) {
      if (await isGone()) return void (connection.value = "outdated");
      await pauseOrOnline(backoff(attempt));
    }
    alone = true;
  }
}

function begin(opened: MessagePort) {
  port = opened;
  port.onmessage = ({ data }) => opened === port && receive(data);
  unanswered = 0;
  post({ type: "hello" });
  for (const { destination, after } of subscriptions) post({ type: "subscribe", destination, after: after() });
  if (listening) post({ type: "listen", cursor: listening.cursor });
  pinging = setInterval(ping, PING_MS);
}

function stop() {
  clearInterval(pinging);
  post({ type: "bye" });
  port?.close();
  port = null;
}

function restart() {
  stop();
  if (!user) return;
  connection.value = "lost";
  void start();
}

function ping() {
  if (unanswered++ < MAX_UNANSWERED) return post({ type: "ping" });
  alone = true;
  restart();
}

/** One worker for each user: another account in this browser has its own connections. */
function portToWorker(owner: string): MessagePort | null {
  try {
    const worker = new SharedWorker(hubScript, { name: `discodeit ${owner}`, type: "module" });
    worker.onerror = () => {
      if (worker.port !== port) return;
      alone = true;
      restart();
    };
    return worker.port;
  } catch {
    return null;
  }
}

async function portInPage(): Promise<MessagePort | null> {
  try {
    await import(/* @vite-ignore */ hubScript);
  } catch {
    return null;
  }
  const { port1, port2 } = new MessageChannel();
  dispatchEvent(new MessageEvent("connect", { ports: [port2] }));
  return port1;
}

const isGone = () =>
  fetch(hubScript).then(
    ({ status }) => status === 404,
    () => false,
  );

function receive(message: ToTab) {
  unanswered = 0;
  switch (message.type) {
    case "state":
      connectionNumber = message.connection;
      connection.value = message.state;
      return;
    case "token?":
      // Without an answer, the worker asks again later.
      return void tokenOtherThan(message.rejected).then(
        (value) => post({ type: "token", value }),
        () => {},
      );
    case "message":
      for (const each of [...subscriptions]) {
        if (each.destination === message.destination) each.onMessage(message.body, message.headers);
      }
      return;
    case "event":
      return handlers?.events[message.name]?.(message.data);
    case "recheck":
      return void handlers?.onRejected().then(answerRecheck, answerRecheck);
    case "fewer":
      return handlers?.onTooMany();
  }
}

function answerRecheck() {
  const wanted = [...subscriptions].map(({ destination, after }) => ({ destination, after: after() }));
  post({ type: "rechecked", wanted });
}

addEventListener("pagehide", () => stop());
// The page comes back from the browser's cache of whole pages.
addEventListener("pageshow", ({ persisted }) => persisted && user && restart());
