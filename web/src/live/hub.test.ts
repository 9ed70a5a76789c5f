import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { attach } from "./hub";
import type { EventOptions, OnMessage, StompOptions } from "discodeit-client";
import type { ToHub, ToTab } from "./protocol";

/** The hub's two connections. */
const { stomp, events, given } = vi.hoisted(() => ({
  stomp: {
    connect: vi.fn(),
    disconnect: vi.fn(),
    follow: vi.fn((...[, position]: [string, number | null, OnMessage]) => ({ position, end: vi.fn() })),
    publish: vi.fn(),
    reconnect: vi.fn(),
  },
  events: { listen: vi.fn(), stop: vi.fn(), pause: vi.fn(), reconnect: vi.fn() },
  given: {} as { stomp: Required<StompOptions>; events: EventOptions },
}));
vi.mock("discodeit-client", () => ({
  StompConnection: class {
    constructor(options: StompOptions) {
      given.stomp = options as Required<StompOptions>;
      return stomp;
    }
  },
  EventStream: class {
    constructor(options: EventOptions) {
      given.events = options;
      return events;
    }
  },
}));

const MESSAGES = "/sub/channels.c.messages";

/** A port whose other side is the test, without the delay of a MessageChannel. */
class Tab {
  received: ToTab[] = [];
  private closed = () => {};
  private port = {
    onmessage: null as unknown as (event: { data: ToHub }) => void,
    postMessage: (message: ToTab) => this.received.push(message),
    addEventListener: (...[, listener]: [string, () => void]) => (this.closed = listener),
    close: () => {},
  };
  constructor() {
    attach(this.port as unknown as MessagePort);
    opened.push(this);
    this.send({ type: "hello" });
  }
  send = (data: ToHub) => this.port.onmessage({ data });
  crash = () => this.closed();
  /** The last messages of this type. */
  of = (type: ToTab["type"]) => this.received.filter((each) => each.type === type);
  bodies = () => this.of("message").map((each: any) => each.headers.gap ?? each.body.seq);
}

let opened: Tab[] = [];
/** The hub's newest subscription. */
const newest = () => stomp.follow.mock.results.at(-1)?.value as { position: number | null; end: () => void };
const deliver = (body: any, headers = {}) => {
  newest().position = body.toSeq ?? body.seq ?? newest().position;
  stomp.follow.mock.lastCall?.[2](body, headers);
};

beforeEach(() => {
  vi.useFakeTimers();
  vi.clearAllMocks();
});

afterEach(() => {
  for (const tab of opened) tab.send({ type: "bye" });
  opened = [];
  vi.useRealTimers();
});

test("the first tab opens the connection, and the last one closes it", () => {
  const [one, two] = [new Tab(), new Tab()];
  expect(stomp.connect).toHaveBeenCalledTimes(1);
  one.send({ type: "bye" });
  expect(stomp.disconnect).not.toHaveBeenCalled();
  two.crash();
  expect(stomp.disconnect).toHaveBeenCalledTimes(1);
});

test("tabs share a subscription", () => {
  const [one, two] = [new Tab(), new Tab()];
  one.send({ type: "subscribe", destination: MESSAGES, after: 4 });
  expect(stomp.follow.mock.lastCall?.slice(0, 2)).toEqual([MESSAGES, 4]);
  deliver({ seq: 5 });
  two.send({ type: "subscribe", destination: MESSAGES, after: 5 });
  deliver({ seq: 6 });
  expect([one.bodies(), two.bodies()]).toEqual([[5, 6], [6]]);
  expect(stomp.follow).toHaveBeenCalledTimes(1);
  const { end } = newest();
  one.send({ type: "bye" });
  expect(end).not.toHaveBeenCalled();
  two.send({ type: "unsubscribe", destination: MESSAGES, gone: false });
  expect(end).toHaveBeenCalledTimes(1);
});

test("a tab that lacks what others have received reads it", () => {
  const [one, two] = [new Tab(), new Tab()];
  one.send({ type: "subscribe", destination: MESSAGES, after: 4 });
  deliver({ fromSeq: 5, toSeq: 600 }, { gap: "true" });
  two.send({ type: "subscribe", destination: MESSAGES, after: 599 });
  expect(two.bodies()).toEqual(["true"]);
});

test("a tab sends only on the connection that it knows", () => {
  const tab = new Tab();
  given.stomp.onState("on");
  const { connection } = tab.of("state").at(-1) as any;
  const send = () => tab.send({ type: "publish", connection, destination: "/pub/messages", body: {} });
  send();
  expect(stomp.publish).toHaveBeenCalledTimes(1);
  given.stomp.onState("lost");
  given.stomp.onState("on");
  send();
  expect(stomp.publish).toHaveBeenCalledTimes(1);
});

test("any tab answers with a token, but not with the one that the server rejected", async () => {
  const [one, two] = [new Tab(), new Tab()];
  const token = given.stomp.token("old");
  one.send({ type: "token", value: "old" });
  two.send({ type: "token", value: "new" });
  await expect(token).resolves.toBe("new");
  const none = expect(given.stomp.token(null)).rejects.toThrow("no tab has a token");
  await vi.advanceTimersByTimeAsync(20_000);
  await none;
});

test("after a rejection, a tab that does not answer loses its subscriptions until it does", async () => {
  const [one, frozen] = [new Tab(), new Tab()];
  frozen.send({ type: "subscribe", destination: MESSAGES, after: 1 });
  const rechecked = given.stomp.recheck();
  one.send({ type: "rechecked", wanted: [] });
  await vi.advanceTimersByTimeAsync(10_000);
  await rechecked;
  expect(stomp.follow.mock.results[0].value.end).toHaveBeenCalledTimes(1);
  frozen.send({ type: "rechecked", wanted: [{ destination: MESSAGES, after: 1 }] });
  expect(stomp.follow).toHaveBeenCalledTimes(2);
});

test("a channel that is gone for one tab is asked about in the others", () => {
  const [one, two] = [new Tab(), new Tab()];
  for (const tab of [one, two]) tab.send({ type: "subscribe", destination: MESSAGES, after: 1 });
  one.send({ type: "unsubscribe", destination: MESSAGES, gone: true });
  expect(stomp.follow.mock.results[0].value.end).toHaveBeenCalledTimes(1);
  expect([one.of("recheck").length, two.of("recheck").length]).toEqual([0, 1]);
});

test("a tab that may have missed events before the stream began reads its lists again", () => {
  const [one, two] = [new Tab(), new Tab()];
  one.send({ type: "listen", cursor: "b" });
  two.send({ type: "listen", cursor: "a" });
  expect(events.listen).toHaveBeenCalledTimes(1);
  expect([one.of("event"), two.of("event").length]).toEqual([[], 1]);
  const late = new Tab();
  late.send({ type: "listen", cursor: "c" });
  expect(late.of("event")).toEqual([]);
});

test("with many subscriptions, tabs end those that are not on screen", () => {
  const tab = new Tab();
  for (let number = 0; number < 91; number++) tab.send({ type: "subscribe", destination: `${number}`, after: null });
  expect(tab.of("fewer")).toHaveLength(1);
});

test("a tab that comes after the first event of the activity gets the present state", () => {
  const destination = "/user/queue/activity";
  const [one, two] = [new Tab(), new Tab()];
  one.send({ type: "subscribe", destination, after: null });
  deliver([
    { channelId: "a", lastSeq: 1 },
    { channelId: "b", lastSeq: 5 },
  ]);
  deliver([{ channelId: "a", lastSeq: 2 }]);
  two.send({ type: "subscribe", destination, after: null });
  expect(stomp.follow).toHaveBeenCalledTimes(1);
  const bodies = two.of("message").map((each: any) => each.body);
  expect(bodies).toEqual([
    [
      { channelId: "a", lastSeq: 2 },
      { channelId: "b", lastSeq: 5 },
    ],
  ]);
});
