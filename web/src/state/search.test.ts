import { afterEach, beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import { ApiError } from "../http";
import { me } from "../session";
import type { Found, FoundPage, User } from "../types";
import { people } from "./people";
import { changeSearch, filterOf, results, search, searchForm, searchMore } from "./search";

vi.mock("../api", () => ({ search: vi.fn() }));

const user = (id: string, username = id): User => ({ id, username, email: "", online: true, role: "USER" });
const find = vi.mocked(api.search);
const found = (id: string) => ({ message: { id }, highlights: [] }) as unknown as Found;
const page = (ids: string[], nextCursor: string | null = null): FoundPage => ({
  content: ids.map(found),
  nextCursor,
  hasNext: nextCursor !== null,
});
const shown = () => results.value?.items.map(({ message }) => message.id);

beforeEach(() => {
  find.mockReset();
  me.value = user("ann");
  people.value = new Map([["1", user("1", "Ben")]]);
});

afterEach(() => {
  me.value = null;
});

test("the form becomes a filter, whose days are the user's own", () => {
  changeSearch({ text: "  data ", channelId: "c", author: " ben", from: "2026-01-30", to: "2026-01-31", has: "file" });
  expect(filterOf(searchForm.value)).toEqual({
    q: "data",
    channelId: "c",
    authorId: "1",
    after: new Date(2026, 0, 30).toISOString(),
    before: new Date(2026, 1, 1).toISOString(),
    has: "file",
  });
});

test("a form that finds nothing says why, without a request", async () => {
  changeSearch({ text: "data", author: "nobody" });
  await search();
  expect(results.value?.error).toBe("Nobody here has this name.");
  changeSearch({ text: " ", author: "" });
  await search();
  expect(results.value?.error).toBe("Enter a text, a name, or choose files or links.");
  expect(find).not.toHaveBeenCalled();
});

test("further pages follow, and a failed one can be read again", async () => {
  find.mockResolvedValueOnce(page(["a"], "17"));
  changeSearch({ text: "data" });
  await search();
  find.mockRejectedValueOnce(new ApiError({ message: "no connection" }));
  await searchMore();
  expect([shown(), results.value?.error, results.value?.next]).toEqual([["a"], "no connection", "17"]);
  find.mockResolvedValueOnce(page(["b"]));
  await searchMore();
  expect([shown(), results.value?.error]).toEqual([["a", "b"], null]);
  expect(find.mock.lastCall?.[1]).toBe("17");
  await searchMore();
  expect(find).toHaveBeenCalledTimes(3);
});

test("the answer to an earlier search is ignored", async () => {
  let answer: (late: FoundPage) => void = () => {};
  find.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
  changeSearch({ text: "first" });
  const first = search();
  find.mockResolvedValueOnce(page(["second"]));
  changeSearch({ text: "second" });
  await search();
  answer(page(["first"]));
  await first;
  expect(shown()).toEqual(["second"]);
});

test("nothing of a search is left for the next user", async () => {
  find.mockResolvedValueOnce(page(["a"]));
  changeSearch({ text: "data" });
  await search();
  me.value = null;
  expect([searchForm.value.text, results.value]).toEqual(["", null]);
});
