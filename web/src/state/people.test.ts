import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import { me } from "../session";
import { authorOf, clearPeople, people, refreshPeople, refreshPerson } from "./people";
import type { User } from "../types";

vi.mock("../api", () => ({ users: vi.fn(), usersWithIds: vi.fn() }));

/** What the server would answer. */
const server: Map<string, User> = new Map();
const user = (id: string, online = false): User => ({ id, username: id, email: "", online, role: "USER" });
const isOnline = (id: string) => people.value?.get(id)?.online;
/** The ids of each request. */
const asked = () => vi.mocked(api.usersWithIds).mock.calls.map(([ids]) => ids);

// One clock for all tests: the pause after a read outlasts a test.
beforeAll(() => void vi.useFakeTimers());
afterAll(() => void vi.useRealTimers());

beforeEach(async () => {
  vi.mocked(api.users).mockReset();
  vi.mocked(api.usersWithIds).mockReset();
  vi.mocked(api.users).mockImplementation(async () => ({ items: [...server.values()], cursor: null }));
  vi.mocked(api.usersWithIds).mockImplementation(async (ids) => ids.flatMap((id) => server.get(id) ?? []));
  me.value = user("ann");
  server.clear();
  for (let number = 0; number < 250; number++) server.set(`user-${number}`, user(`user-${number}`));
  void refreshPeople();
  await vi.advanceTimersByTimeAsync(1_000);
});

afterEach(clearPeople);

test("an event reads the user that it names, and not the whole list", async () => {
  server.set("user-7", user("user-7", true));
  refreshPerson("user-7");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(isOnline("user-7")).toBe(true);
  expect(asked()).toEqual([["user-7"]]);
  expect(api.users).toHaveBeenCalledTimes(1);
});

test("a burst of events shares its requests", async () => {
  for (let number = 0; number < 150; number++) refreshPerson(`user-${number}`);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(asked().map((ids) => ids.length)).toEqual([100, 50]);
});

test("those who came or went in the same second are read too, in a bounded number of requests, and then it stops", async () => {
  server.set("user-240", user("user-240", true));
  refreshPerson("user-0");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(isOnline("user-240")).toBe(true);
  expect(asked().map((ids) => ids.length)).toEqual([1, 100, 100, 50]);
  await vi.advanceTimersByTimeAsync(600_000);
  expect(asked().length).toBe(4);
});

test("a new user appears, and one whose account is deleted disappears", async () => {
  server.set("new", user("new", true));
  server.delete("user-3");
  refreshPerson("new");
  refreshPerson("user-3");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(people.value?.has("new")).toBe(true);
  expect(people.value?.has("user-3")).toBe(false);
  expect(authorOf(user("user-3"))).toBe(null);
  expect(authorOf(user("newer than the list"))?.username).toBe("newer than the list");
});

test("a whole list that was read before an event does not undo it", async () => {
  let answer = () => {};
  const old = [...server.values()];
  vi.mocked(api.users).mockImplementation(
    () => new Promise((resolve) => (answer = () => resolve({ items: old, cursor: null }))),
  );
  void refreshPeople();
  await vi.advanceTimersByTimeAsync(1_000);
  server.set("user-5", user("user-5", true));
  refreshPerson("user-5");
  await vi.advanceTimersByTimeAsync(1_000);
  answer();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(isOnline("user-5")).toBe(true);
});

test("equal answers render nothing", async () => {
  const before = people.value;
  refreshPerson("user-7");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(people.value).toBe(before);
});
