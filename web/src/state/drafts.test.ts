import { beforeEach, expect, test, vi } from "vitest";
import {
  addFiles,
  anyDraft,
  clearDrafts,
  discardDraft,
  draftChannels,
  draftOf,
  earlierId,
  hasDraft,
  openDrafts,
  restoreDraft,
  setText,
  storeDrafts,
} from "./drafts";
import { channels } from "./channels";
import type { Channel } from "../types";
import type { Pending } from "./pending";

const file = (name: string, bytes = 1) => new File([new Uint8Array(bytes)], name);
const names = (channelId: string) => draftOf(channelId).files.map((each) => each.file.name);

beforeEach(() => {
  localStorage.clear();
  channels.value = null;
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

/** A page that was loaded after a reload: it has the storage only. */
async function reloaded() {
  vi.resetModules();
  const page = await import("./drafts");
  page.openDrafts("ann");
  return page;
}

test("a draft survives a reload, with the name of its channel, and is gone after it was sent", async () => {
  const channel = { id: "a", name: "talk", type: "PUBLIC", participants: [] } as unknown as Channel;
  channels.value = [channel];
  setText("a", "half a sent");
  const page = await reloaded();
  expect(page.draftOf("a").text).toBe("half a sent");
  expect(page.draftChannels()).toEqual([channel]);
  discardDraft("a");
  expect((await reloaded()).draftOf("a").text).toBe("");
  expect(draftChannels()).toEqual([]);
});

test("signing out removes the drafts of this user from the storage, and of no other", async () => {
  openDrafts("ben");
  setText("a", "ben's");
  openDrafts("ann");
  setText("a", "ann's");
  clearDrafts();
  expect(Object.keys(localStorage)).toEqual(["discodeit.draft.ben.a"]);
  openDrafts("ben");
  clearDrafts();
  expect(localStorage.length).toBe(0);
});

test("a tab that was signed out by another one keeps its drafts", async () => {
  setText("a", "mine");
  localStorage.clear();
  storeDrafts();
  expect((await reloaded()).draftOf("a").text).toBe("mine");
});

test("a draft follows other tabs, unless it has a text of its own or they sign out", () => {
  const key = "discodeit.draft.ann.a";
  const tell = (before: string | null, after: string | null) =>
    dispatchEvent(
      Object.assign(new Event("storage"), {
        key,
        oldValue: before && JSON.stringify({ text: before }),
        newValue: after === null ? null : JSON.stringify({ text: after }),
      }),
    );
  tell(null, "one");
  expect(draftOf("a").text).toBe("one");
  tell("one", null);
  expect(draftOf("a").text).toBe("one");
  tell("one", "");
  expect(draftOf("a").text).toBe("");
  setText("a", "mine");
  tell("other", "others");
  expect(draftOf("a").text).toBe("mine");
});

test("a message that is taken back keeps its id while nothing changes", () => {
  const taken = { clientMessageId: "id" } as Pending;
  const attachment = file("a.txt");
  restoreDraft("a", "text", [attachment], taken);
  expect(earlierId("a", "text")).toBe("id");
  expect(earlierId("a", "other")).toBeUndefined();
  addFiles("a", [file("b.txt")]);
  expect(earlierId("a", "text")).toBeUndefined();
  restoreDraft("b", "text", []);
  expect(earlierId("b", "text")).toBeUndefined();
});

test("folders are refused by name, beside the files and their refusals", () => {
  addFiles("a", [file("note.txt"), file("empty.txt", 0)], ["holiday", "work"]);
  expect(names("a")).toEqual(["note.txt"]);
  expect(draftOf("a").refused).toBe(
    "“holiday” is a folder: only files can be attached. “work” is a folder: only files can be attached. “empty.txt” is empty.",
  );
  addFiles("a", [file("more.txt")]);
  expect(draftOf("a").refused).toBe(null);
});
