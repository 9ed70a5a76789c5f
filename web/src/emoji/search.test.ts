import { beforeEach, expect, test, vi } from "vitest";
import { findEmoji, groups, recent, rememberEmoji } from "./search";

const found = (query: string) => findEmoji(query).map(({ emoji }) => emoji);

beforeEach(() => {
  localStorage.clear();
});

test("emoji are found by English and Korean names and words, the nearest first", () => {
  expect(found("thumbs up")[0]).toBe("👍");
  // The astronaut has the word, too.
  expect(found("rocket")[0]).toBe("🚀");
  expect(found("THUMB")).toContain("👍");
  expect(found("엄지")).toContain("👍");
  expect(found("하트")).toContain("❤️");
  // Typed as jamo that were not composed.
  expect(found("하트".normalize("NFD"))).toContain("❤️");
  expect(found("up thumbs")).toContain("👍");
  expect(found("no such emoji")).toEqual([]);
  expect(found("  ")).toEqual([]);
});

test("each emoji is listed once, with a name in both languages", () => {
  const all = groups.flat();
  expect(all.length).toBeGreaterThan(1_500);
  expect(new Set(all.map(({ emoji }) => emoji)).size).toBe(all.length);
  expect(all.filter(({ english, korean }) => !english || !korean)).toEqual([]);
});

test("the emoji that were used last are remembered, once each", async () => {
  for (const emoji of ["😀", "🎉", "😀"]) rememberEmoji(emoji);
  expect(recent.value.map(({ emoji }) => emoji)).toEqual(["😀", "🎉"]);
  for (const { emoji } of groups[3]) rememberEmoji(emoji);
  expect(recent.value.length).toBe(27);
  vi.resetModules();
  localStorage.setItem("discodeit.recent-emoji", "😀 nonsense  🎉");
  const reloaded = await import("./search");
  expect(reloaded.recent.value.map(({ emoji }) => emoji)).toEqual(["😀", "🎉"]);
});
