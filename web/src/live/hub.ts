// The connections to the server that all tabs of a user share: STOMP for messages, server-sent events for everything else.
//
// Browsers open at most six HTTP/1.1 connections to a server, for all tabs together. With a stream for each tab, the
// seventh tab would never load. shared.ts runs this module in a SharedWorker. The worker belongs to no tab, so a tab that
// closes, crashes or is frozen takes nothing from the others.

import { EventStream, StompConnection } from "discodeit-client";
import { ACTIVITY, EVENTS } from "./protocol";
import type { ConnectionState, Following } from "discodeit-client";
import type { ToHub, ToTab, Wanted } from "./protocol";

/** Time for a tab to renew its token. */
const TOKEN_TIMEOUT_MS = 20_000;
/** A frozen tab answers late: until then, the others do without its subscriptions. */
const RECHECK_TIMEOUT_MS = 10_000;
/** The server takes 100 subscriptions on a connection. */
const MANY_SUBSCRIPTIONS = 90;
/** A timer that is this late means that the computer slept. */
const SLEEP_MS = 20_000;
const TICK_MS = 2_000;

interface Tab {
  port: MessagePort;
  /** It came before the event stream, and events may precede the stream's start. */
  early: boolean;
}

/** One subscription, for the tabs that want it. */
interface Shared {
  tabs: Set<Tab>;
  /** Of the activity: the newest of each channel, for tabs that come after its first event. */
  newest: Map<string, unknown>;
  following: Following;
}

const tabs: Set<Tab> = new Set();
const shared: Map<string, Shared> = new Map();
const tokenRequests: Set<{ rejected: string | null; resolve: (token: string) => void }> = new Set();
let recheck: { unanswered: Set<Tab>; finish: () => void } | null = null;
let state: ConnectionState = "off";
let connection = 0;
/** The position at which the event stream began; undefined without a stream. */
let streamStart: string | null | undefined;

const stomp = new StompConnection({
  server: location.origin,
  token,
  recheck: askToRecheck,
  onState: setState,
  loadSockJs: async () => (await import("sockjs-client")).default,
});
const events = new EventStream({
  server: location.origin,
  token,
  names: EVENTS,
  onEvent: (name, data) => broadcast({ type: "event", name, data }),
});
let ticking: ReturnType<typeof setInterval> | undefined;

export function attach(port: MessagePort) {
  const tab: Tab = { port, early: false };
  port.onmessage = ({ data }) => receive(tab, data);
  // Chromium reports the end of a tab that crashed. Elsewhere, its subscriptions stay until the next recheck.
  port.addEventListener("close", () => remove(tab));
}

const post = (tab: Tab, message: ToTab) => tab.port.postMessage(message);

function broadcast(message: ToTab) {
  for (const tab of tabs) post(tab, message);
}

function receive(tab: Tab, message: ToHub) {
  if (message.type === "hello") return add(tab);
  if (!tabs.has(tab)) return;
  switch (message.type) {
    case "token":
      return useToken(message.value);
    case "listen":
      return listen(tab, message.cursor);
    case "subscribe":
      return subscribe(tab, message);
    case "unsubscribe":
      return message.gone ? endShared(tab, message.destination) : unsubscribe(tab, message.destination);
    case "publish":
      // The tab learns of the new connection and sends again; now, this message would overtake earlier ones.
      return void (message.connection === connection && stomp.publish(message.destination, message.body));
    case "rechecked":
      return rechecked(tab, message.wanted);
    case "ping":
      return post(tab, { type: "state", state, connection });
    case "bye":
      return remove(tab);
  }
}

function add(tab: Tab) {
  tab.early = streamStart === undefined;
  tabs.add(tab);
  if (tabs.size === 1) start();
  post(tab, { type: "state", state, connection });
}

function remove(tab: Tab) {
  if (!tabs.delete(tab)) return;
  tab.port.close();
  for (const destination of [...shared.keys()]) unsubscribe(tab, destination);
  answered(tab);
  if (tabs.size === 0) stop();
}

function start() {
  stomp.connect();
  if (typeof document === "undefined") watchSleep();
}

/**
 * In a page, the stream would take one of the six connections from the other tabs. A hidden tab does without: it gets
 * the missed events when it is shown. Timers of a hidden tab are late, which is no sign of sleep.
 */
if (typeof document !== "undefined") {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") events.reconnect();
    else events.pause();
  });
}

function stop() {
  clearInterval(ticking);
  events.stop();
  stomp.disconnect();
  streamStart = undefined;
  tokenRequests.clear();
}

function setState(next: ConnectionState) {
  state = next;
  if (next === "on") connection++;
  broadcast({ type: "state", state, connection });
}

/** After a sleep, the connections are probably dead; their timeouts would take up to 45 s to find that out. */
function watchSleep() {
  let last = Date.now();
  ticking = setInterval(() => {
    const late = Date.now() - last - TICK_MS;
    last = Date.now();
    if (late < SLEEP_MS) return;
    stomp.reconnect();
    events.reconnect();
  }, TICK_MS);
}

// ---- tokens ----------------------------------------------------------------------------------------------------------

/** Asks all tabs, because any of them may be frozen; the first answer counts. */
function token(rejected: string | null): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = { rejected, resolve };
    tokenRequests.add(request);
    setTimeout(() => {
      tokenRequests.delete(request);
      reject(new Error("no tab has a token"));
    }, TOKEN_TIMEOUT_MS);
    broadcast({ type: "token?", rejected });
  });
}

function useToken(value: string) {
  for (const request of tokenRequests) {
    if (request.rejected === value) continue;
    tokenRequests.delete(request);
    request.resolve(value);
  }
}

// ---- the event stream ------------------------------------------------------------------------------------------------

function listen(tab: Tab, cursor: string | null) {
  if (streamStart === undefined) {
    streamStart = cursor;
    events.listen(cursor);
  } else if (tab.early && cursor !== streamStart) {
    // The stream may have begun after the tab read its lists.
    post(tab, { type: "event", name: "resync", data: {} });
  }
  tab.early = false;
}

// ---- subscriptions ---------------------------------------------------------------------------------------------------

function subscribe(tab: Tab, { destination, after }: Wanted) {
  const known = shared.get(destination);
  if (known) {
    if (known.tabs.has(tab)) return;
    known.tabs.add(tab);
    if (known.newest.size) post(tab, { type: "message", destination, body: [...known.newest.values()], headers: {} });
    // What other tabs have received already does not come again.
    const { position } = known.following;
    if (after !== null && position !== null && after < position) {
      post(tab, { type: "message", destination, body: null, headers: { gap: "true" } });
    }
    return;
  }
  if (shared.size >= MANY_SUBSCRIPTIONS) broadcast({ type: "fewer" });
  const tabs = new Set([tab]);
  const newest: Shared["newest"] = new Map();
  const following = stomp.follow(destination, after, (body, headers) => {
    if (destination === ACTIVITY) for (const each of body) newest.set(each.channelId, each);
    for (const each of tabs) post(each, { type: "message", destination, body, headers });
  });
  shared.set(destination, { tabs, newest, following });
}

function unsubscribe(tab: Tab, destination: string) {
  const known = shared.get(destination);
  if (!known?.tabs.delete(tab) || known.tabs.size) return;
  known.following.end();
  shared.delete(destination);
}

/** Ends it for all: the other tabs want it again if the channel comes back. */
function endShared(teller: Tab, destination: string) {
  const known = shared.get(destination);
  known?.following.end();
  shared.delete(destination);
  for (const tab of known?.tabs ?? []) if (tab !== teller) post(tab, { type: "recheck" });
}

/** Resolves when the tabs have ended the subscriptions that no longer make sense. */
function askToRecheck(): Promise<void> {
  recheck?.finish();
  return new Promise((resolve) => {
    const unanswered = new Set(tabs);
    const timer = setTimeout(() => {
      for (const tab of unanswered) for (const destination of [...shared.keys()]) unsubscribe(tab, destination);
      finish();
    }, RECHECK_TIMEOUT_MS);
    const finish = () => {
      clearTimeout(timer);
      recheck = null;
      resolve();
    };
    recheck = { unanswered, finish };
    broadcast({ type: "recheck" });
  });
}

function rechecked(tab: Tab, wanted: Wanted[]) {
  for (const each of wanted) subscribe(tab, each);
  answered(tab);
}

function answered(tab: Tab) {
  if (recheck?.unanswered.delete(tab) && recheck.unanswered.size === 0) recheck.finish();
}
