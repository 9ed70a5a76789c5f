import { expect, test } from "vitest";
import { signal } from "@preact/signals";
import type { Pending } from "../state/pending";
import type { Message, User } from "../types";
import { toRows } from "./message-rows";

const user = (id: string): User => ({ id, username: id, email: "", online: null, role: "USER" });
const [ann, ben] = [user("ann"), user("ben")];

function message(seq: number, author: User, createdAt: string, clientMessageId: string | null = null): Message {
  return { id: `m${seq}`, seq, author, createdAt, updatedAt: null, content: "", channelId: "c", clientMessageId };
}

function waiting(clientMessageId: string, createdAt: string): Pending {
  const rest = { files: [], replyTo: null, state: "waiting", tries: 0, progress: signal(0) } as const;
  return { ...rest, files: [], clientMessageId, channelId: "c", content: "", createdAt };
}

const shape = (messages: Message[], pending: Pending[] = []) =>
  toRows(messages, pending, ann, false).map(({ newDay, head }) => (newDay ? "day" : head ? "head" : "next"));

test("a run ends with another author, after 7 minutes, and with the day", () => {
  const rows = shape([
    message(1, ann, "2026-01-01T10:00:00"),
    message(2, ann, "2026-01-01T10:06:59"),
    message(3, ben, "2026-01-01T10:07:00"),
    message(4, ben, "2026-01-01T10:14:00"),
    message(5, ben, "2026-01-02T00:00:00"),
  ]);
  expect(rows).toEqual(["day", "next", "head", "head", "day"]);
});

test("a pending message follows the stored ones, and has one row when it arrives", () => {
  const first = message(1, ann, "2026-01-01T10:00:00");
  const pending = [waiting("x", "2026-01-01T10:01:00")];
  const before = toRows([first], pending, ann, false);
  const after = toRows([first, message(2, ann, "2026-01-01T10:01:00", "x")], pending, ann, false);
  expect(before.map(({ key }) => key)).toEqual(after.map(({ key }) => key));
});

test("a row stays the same when older messages are read", () => {
  const messages = [1, 2, 3, 4].map((seq) => message(seq, ann, `2026-01-01T10:0${seq}:00`));
  const before = toRows(messages.slice(1), [], ann, true);
  const after = toRows(messages, [], ann, false);
  expect(before.map(({ head, newDay }) => [head, newDay])).toEqual([
    [false, false],
    [false, false],
  ]);
  expect(after.slice(-2)).toEqual(before);
});

test("the divider is before the first message of another user that is new", () => {
  const minute = (seq: number) => `2026-01-01T10:0${seq}:00`;
  const messages = [ann, ann, ann, ben, ben].map((author, at) => message(at + 1, author, minute(at)));
  const dividers = (divider: number | null) => toRows(messages, [], ann, false, divider).map(({ isNew }) => isNew);
  expect(dividers(1)).toEqual([false, false, false, true, false]);
  expect(dividers(4)).toEqual([false, false, false, false, true]);
  expect(toRows(messages, [], ann, false, 4)[4].head).toBe(true);
  for (const none of [null, 5]) expect(dividers(none)).not.toContain(true);
});

test("a reply begins a run", () => {
  const replyTo = { id: "m1", seq: 1, author: ben, excerpt: "", deleted: false };
  const messages = [message(1, ann, "2026-01-01T10:00:00"), { ...message(2, ann, "2026-01-01T10:01:00"), replyTo }];
  expect(shape(messages)).toEqual(["day", "head"]);
});
