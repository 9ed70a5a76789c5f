import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { connection, publish } from "../live/link";
import { me } from "../session";
import type { Message, User } from "../types";
import { handleRefusal, resend, send, startOutbox } from "./outbox";
import { pending, removePending, settle } from "./pending";

vi.mock("../live/link", async () => {
  const { signal } = await import("@preact/signals");
  return { connection: signal("off"), publish: vi.fn(() => connection.peek() === "on") };
});

const ann: User = { id: "ann", username: "ann", email: "", online: true, role: "USER" };
const states = () => pending.value.map(({ content, state }) => [content, state]);
const sent = () => vi.mocked(publish).mock.calls.map(([, body]) => (body as { content: string }).content);

let stop = () => {};

beforeEach(() => {
  vi.useFakeTimers();
  vi.mocked(publish).mockClear();
  me.value = ann;
  connection.value = "on";
  stop = startOutbox();
});

afterEach(() => {
  stop();
  for (const { clientMessageId } of pending.peek()) removePending(clientMessageId);
  vi.runAllTimers();
  vi.useRealTimers();
});

function stored(content: string, author = ann): Message {
  const clientMessageId = pending.peek().find((each) => each.content === content)?.clientMessageId;
  return { id: content, createdAt: "", updatedAt: null, content, channelId: "c", author, seq: 1, clientMessageId };
}

test("a message is shown at once and removed when the channel delivers it", () => {
  send("c", "one");
  expect(states()).toEqual([["one", "sent"]]);
  settle(stored("one", { ...ann, id: "ben" }));
  expect(states()).toEqual([["one", "sent"]]);
  settle(stored("one"));
  expect(states()).toEqual([]);
});

test("messages written without a connection are sent in their order on the next one", () => {
  connection.value = "lost";
  send("c", "one");
  send("c", "two");
  expect(states()).toEqual([
    ["one", "waiting"],
    ["two", "waiting"],
  ]);
  vi.mocked(publish).mockClear();
  connection.value = "on";
  expect(sent()).toEqual(["one", "two"]);
});

test("an unconfirmed message is sent again on the next connection, with the same id", () => {
  send("c", "one");
  connection.value = "lost";
  connection.value = "on";
  expect(sent()).toEqual(["one", "one"]);
  const ids = vi.mocked(publish).mock.calls.map(([, body]) => (body as Message).clientMessageId);
  expect(ids[0]).toBe(ids[1]);
});

test("a message that is not confirmed within 15 s has failed, and can be sent again", () => {
  send("c", "one");
  vi.advanceTimersByTime(14_999);
  expect(states()).toEqual([["one", "sent"]]);
  vi.advanceTimersByTime(1);
  expect(states()).toEqual([["one", "failed"]]);
  resend(pending.peek()[0].clientMessageId);
  expect(states()).toEqual([["one", "sent"]]);
});

test("a refused message waits, and later ones do not overtake it", () => {
  send("c", "one");
  const { clientMessageId } = pending.peek()[0];
  expect(handleRefusal({ code: "TOO_MANY_REQUESTS", message: "slower", details: { clientMessageId } })).toBe(true);
  send("c", "two");
  expect(states()).toEqual([
    ["one", "waiting"],
    ["two", "waiting"],
  ]);
  vi.advanceTimersByTime(1_000);
  expect(sent()).toEqual(["one", "one", "two"]);
});

test("a permanent refusal is shown, and one of another frame is not a message's", () => {
  send("c", "one");
  const { clientMessageId } = pending.peek()[0];
  expect(handleRefusal({ code: "FORBIDDEN", message: "no" })).toBe(false);
  expect(handleRefusal({ code: "FORBIDDEN", message: "no", details: { clientMessageId } })).toBe(true);
  expect(pending.value).toMatchObject([{ state: "failed", reason: "no" }]);
});
