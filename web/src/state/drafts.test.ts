import { beforeEach, expect, test } from "vitest";
import {
  addFiles,
  anyDraft,
  clearDrafts,
  discardDraft,
  draftOf,
  hasDraft,
  openDrafts,
  restoreDraft,
  setText,
} from "./drafts";

const file = (name: string, bytes = 1) => new File([new Uint8Array(bytes)], name);
const names = (channelId: string) => draftOf(channelId).files.map((each) => each.file.name);

beforeEach(() => {
  openDrafts("ann");
  clearDrafts();
});

test("each channel has its own draft", () => {
  setText("a", "one");
  setText("b", "two");
  discardDraft("a");
  expect([draftOf("a").text, draftOf("b").text]).toEqual(["", "two"]);
  expect([hasDraft("a"), hasDraft("b"), anyDraft.value]).toEqual([false, true, true]);
});

test("a draft is its writer's: another user who signs in sees an empty one", () => {
  setText("a", "for ben");
  openDrafts("eve");
  expect(draftOf("a").text).toBe("");
  openDrafts("ann");
  expect(draftOf("a").text).toBe("for ben");
});

test("at most 10 files are taken, none of them empty or over 10 MiB, and the user reads why", () => {
  addFiles("a", [file("empty", 0), file("large", 10 * 1024 * 1024 + 1), file("good")]);
  expect(names("a")).toEqual(["good"]);
  expect(draftOf("a").refused).toBe("“empty” is empty. “large” is too large: a file can have 10 MB at most.");
  addFiles(
    "a",
    Array.from({ length: 10 }, (_, at) => file(`file ${at}`)),
  );
  expect(names("a")).toHaveLength(10);
  expect(draftOf("a").refused).toBe("A message can have 10 files at most.");
  setText("a", "next");
  expect(draftOf("a").refused).toBeNull();
});

test("a message that is taken back stands before what was written since", () => {
  setText("a", "second");
  addFiles("a", [file("b.txt")]);
  restoreDraft("a", "first", [file("a.txt")]);
  expect(draftOf("a").text).toBe("first\nsecond");
  expect(names("a")).toEqual(["a.txt", "b.txt"]);
});
