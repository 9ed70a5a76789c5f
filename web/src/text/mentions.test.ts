import { expect, test } from "vitest";
import { findMentions, matching, nameBefore } from "./mentions";

const [ann, annLee, kim] = [
  { id: "1", username: "ann" },
  { id: "2", username: "ann Lee" },
  { id: "3", username: "김철수" },
];

const found = (text: string, users = [ann, annLee, kim]) =>
  findMentions(text, users).map(({ start, end, userId }) => [text.slice(start, end), userId]);

test("a mention is found where a name ends, also before a particle, the longest name first", () => {
  expect(found("hi @ann!")).toEqual([["@ann", "1"]]);
  expect(found("(@ANN), @ann Lee")).toEqual([
    ["@ANN", "1"],
    ["@ann Lee", "2"],
  ]);
  expect(found("@김철수님 @ann는")).toEqual([
    ["@김철수", "3"],
    ["@ann", "1"],
  ]);
});

test("addresses, other names and lone signs are none", () => {
  for (const text of ["mail@ann", "@anna", "@ann-b", "@ann_b", "@ ann", "@", "ann"]) expect(found(text)).toEqual([]);
  expect(found("@ann", [])).toEqual([]);
});

test("a name is being written from the sign up to the cursor", () => {
  expect(nameBefore("hi @an", 6)).toEqual({ start: 3, query: "an" });
  expect(nameBefore("hi @an", 4)).toEqual({ start: 3, query: "" });
  expect(nameBefore("@ann L", 6)).toEqual({ start: 0, query: "ann L" });
  for (const text of ["hi", "mail@an", "@ an", "@an\nb", `@${"a".repeat(51)}`]) {
    expect(nameBefore(text, text.length)).toBeNull();
  }
});

test("users are completed by the beginning of their name or of a word of it", () => {
  const users = [annLee, kim, ann, { id: "4", username: "Lee" }];
  expect(matching(users, "LE", 8).map(({ id }) => id)).toEqual(["4", "2"]);
  expect(matching(users, "김", 8).map(({ id }) => id)).toEqual(["3"]);
  expect(matching(users, "", 2).map(({ id }) => id)).toEqual(["2", "3"]);
});
