import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { postMessage } from "../api";
import { ApiError } from "../http";
import { connection, publish } from "../live/link";
import { me } from "../session";
import type { Message, User } from "../types";
import { handleRefusal, resend, send, startOutbox } from "./outbox";
import { clearPending, openPending, parkPending, pending, removePending, settle } from "./pending";

vi.mock("../live/link", async () => {
  const { signal } = await import("@preact/signals");
  return { connection: signal("off"), publish: vi.fn(() => connection.peek() === "on") };
});

vi.mock("../api", () => ({ postMessage: vi.fn(async () => {}) }));

const ann: User = { id: "ann", username: "ann", email: "", online: true, role: "USER" };
const states = () => pending.value.map(({ content, state }) => [content, state]);
const sent = () => vi.mocked(publish).mock.calls.map(([, body]) => (body as { content: string }).content);

let stop = () => {};

beforeEach(() => {
  vi.useFakeTimers();
  vi.mocked(publish).mockClear();
  vi.mocked(postMessage).mockClear();
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

test("messages that are not confirmed within 30 s are asked for over HTTP, in order, and never given up", async () => {
  vi.mocked(postMessage).mockRejectedValueOnce(new ApiError({ message: "The server cannot be reached." }));
  send("c", "one");
  send("c", "two");
  await vi.advanceTimersByTimeAsync(29_999);
  expect(postMessage).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  expect(states()).toEqual([
    ["one", "sent"],
    ["two", "sent"],
  ]);
  await vi.advanceTimersByTimeAsync(2_000);
  const asked = vi.mocked(postMessage).mock.calls.map(([{ content }]) => content);
  expect(asked).toEqual(["one", "one", "two"]);
  const [first, again] = vi.mocked(postMessage).mock.calls.map(([{ clientMessageId }]) => clientMessageId);
  expect(first).toBe(again);
  expect(states()).toEqual([
    ["one", "stored"],
    ["two", "stored"],
  ]);
});

test("a message that HTTP refuses has certainly not been sent", async () => {
  vi.mocked(postMessage).mockRejectedValueOnce(new ApiError({ status: 403, code: "FORBIDDEN", message: "no" }));
  send("c", "one");
  await vi.advanceTimersByTimeAsync(30_000);
  expect(pending.value).toMatchObject([{ state: "failed", reason: "no" }]);
  resend(pending.peek()[0].clientMessageId);
  expect(states()).toEqual([["one", "sent"]]);
});

test("a message that was delivered and deleted meanwhile is gone", () => {
  send("c", "one");
  const { clientMessageId } = pending.peek()[0];
  handleRefusal({ code: "MESSAGE_NOT_FOUND", message: "deleted", details: { clientMessageId } });
  expect(states()).toEqual([]);
});

test("a message is tried for as long as the refusals are transient", () => {
  send("c", "one");
  const { clientMessageId } = pending.peek()[0];
  for (let tries = 0; tries < 20; tries++) {
    handleRefusal({ code: "SERVICE_UNAVAILABLE", message: "later", details: { clientMessageId } });
    expect(states()).toEqual([["one", "waiting"]]);
    vi.advanceTimersByTime(15_000);
    expect(states()).toEqual([["one", "sent"]]);
  }
});

test("what waits survives the end of a session and a reload, in order, for the same user only", () => {
  const stopKeeping = openPending("ann");
  send("c", "sent");
  connection.value = "lost";
  send("c", "waiting");
  const ids = pending.peek().map((each) => each.clientMessageId);
  stopKeeping();
  // A reload has the storage only.
  const copy = sessionStorage.getItem("discodeit.outbox.ann") as string;
  parkPending("ann");
  expect(states()).toEqual([]);
  openPending("ben")();
  expect(states()).toEqual([]);
  openPending("ann")();
  expect(pending.peek().map((each) => each.clientMessageId)).toEqual(ids);
  clearPending("ann");
  expect(sessionStorage.getItem("discodeit.outbox.ann")).toBeNull();
  sessionStorage.setItem("discodeit.outbox.ann", copy);
  openPending("ann")();
  vi.mocked(publish).mockClear();
  connection.value = "on";
  expect(sent()).toEqual(["sent", "waiting"]);
  expect(pending.peek().map((each) => each.clientMessageId)).toEqual(ids);
});

test("a copy that cannot be read is ignored", () => {
  for (const odd of ["{", "null", "7"]) {
    sessionStorage.setItem("discodeit.outbox.ann", odd);
    openPending("ann")();
    expect(states()).toEqual([]);
  }
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

test("a reply names its original, also over HTTP and after a reload; without it when it is deleted meanwhile", async () => {
  const replyTo = { id: "original", seq: 1, author: null, excerpt: "?", deleted: false };
  const published = () => vi.mocked(publish).mock.lastCall?.[1];
  send("c", "yes", replyTo);
  expect(published()).toMatchObject({ content: "yes", replyTo: "original" });
  await vi.advanceTimersByTimeAsync(30_000);
  expect(postMessage).toHaveBeenCalledWith(expect.objectContaining({ replyTo: "original" }), [], {});
  for (const { clientMessageId } of pending.peek()) removePending(clientMessageId);

  send("c", "no", replyTo);
  const { clientMessageId } = pending.value[0];
  const details = { clientMessageId, replyTo: "must be a message of the channel" };
  expect(handleRefusal({ code: "INVALID_INPUT", message: "invalid", details })).toBe(true);
  expect(pending.value[0]).toMatchObject({ state: "failed", replyTo: null });
  resend(clientMessageId);
  expect(published()).not.toHaveProperty("replyTo");
});
