import { beforeEach, expect, test, vi } from "vitest";
import * as api from "../api";
import { me } from "../session";
import { draftOf, openDrafts } from "./drafts";
import { clearPending, pending } from "./pending";
import { returnToDraft, sendWithoutLost } from "./unsent";
import { upload } from "./uploads";
import type { Attachment } from "./attachments";

vi.mock("../api", () => ({ postMessage: vi.fn(), fileLink: vi.fn() }));

let lastId = 0;
const attached = (name: string): Attachment => ({ id: ++lastId, file: new File(["text"], name), url: null });

/** As browsers do when the file on the disk is another one, or gone. */
function lose({ file }: Attachment) {
  vi.spyOn(file, "slice").mockReturnValue({ arrayBuffer: () => Promise.reject(new Error("NotReadableError")) } as any);
}

/** The names of the files of each request. */
const sent = () => vi.mocked(api.postMessage).mock.calls.map(([, files]) => files.map(({ name }) => name));
const settled = () => vi.waitFor(() => expect(pending.value.every(({ state }) => state !== "uploading")).toBe(true));

beforeEach(() => {
  vi.mocked(api.postMessage).mockReset();
  vi.mocked(api.postMessage).mockResolvedValue({} as any);
  me.value = { id: "ann", username: "ann", email: "", online: null, role: "USER" };
  clearPending("ann");
  openDrafts("ann");
});

test("a message with a file that is lost is not sent, and says which", async () => {
  const files = [attached("a.txt"), attached("b.txt"), attached("c.txt")];
  lose(files[0]);
  lose(files[2]);
  upload("talk", "text", files);
  await settled();
  expect(sent()).toEqual([]);
  expect(pending.value).toMatchObject([
    { state: "failed", reason: "“a.txt” and “c.txt” were changed or deleted after you chose them." },
  ]);
  sendWithoutLost(pending.value[0].clientMessageId);
  await settled();
  expect(sent()).toEqual([["b.txt"]]);
  expect(pending.value).toMatchObject([{ state: "stored", reason: undefined, lost: undefined }]);
});

test("without any other file, the text goes the way of texts", async () => {
  const file = attached("a.txt");
  lose(file);
  upload("talk", "text", [file]);
  await settled();
  expect(pending.value[0].reason).toBe("“a.txt” was changed or deleted after you chose it.");
  const { clientMessageId } = pending.value[0];
  sendWithoutLost(clientMessageId);
  expect(pending.value).toMatchObject([{ clientMessageId, state: "waiting", content: "text", files: [] }]);
});

test("a lost file does not return to the draft", async () => {
  const files = [attached("a.txt"), attached("b.txt")];
  lose(files[0]);
  upload("talk", "text", files);
  await settled();
  returnToDraft(pending.value[0].clientMessageId);
  expect(draftOf("talk").files.map(({ file }) => file.name)).toEqual(["b.txt"]);
});

test("a file that is lost after a failed try ends the retries", async () => {
  const { ApiError } = await import("../http");
  vi.useFakeTimers();
  const file = attached("a.txt");
  vi.mocked(api.postMessage).mockImplementation(async () => {
    lose(file);
    throw new ApiError({ message: "no connection" });
  });
  upload("talk", "", [file]);
  await vi.advanceTimersByTimeAsync(60_000);
  vi.useRealTimers();
  expect(sent().length).toBe(1);
  expect(pending.value).toMatchObject([{ state: "failed" }]);
});
