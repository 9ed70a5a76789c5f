import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { clearFiles, keepPreviews, pictureSource, updateFile } from "./files";
import type { BinaryContent } from "../types";

const file = (changes: Partial<BinaryContent> = {}): BinaryContent => ({
  id: "p",
  fileName: "p.png",
  size: 9_000_000,
  contentType: "image/png",
  uploadStatus: "SUCCESS",
  width: 4_000,
  height: 3_000,
  thumbnail: true,
  ...changes,
});
const original = "/api/binaryContents/p/download";
const thumbnail = (width: number) => `/api/binaryContents/p/thumbnail?width=${width}`;

beforeEach(clearFiles);
afterEach(() => vi.unstubAllGlobals());

test("a small frame takes a thumbnail, and the lightbox the original", () => {
  vi.stubGlobal("devicePixelRatio", 1);
  expect([pictureSource(file(), 72), pictureSource(file(), 460), pictureSource(file())]).toEqual([
    thumbnail(320),
    thumbnail(640),
    original,
  ]);
});

test("dense screens take larger ones", () => {
  vi.stubGlobal("devicePixelRatio", 2);
  expect([pictureSource(file(), 72), pictureSource(file(), 312)]).toEqual([thumbnail(320), thumbnail(640)]);
  vi.stubGlobal("devicePixelRatio", 3);
  expect(pictureSource(file(), 460)).toBe(original);
});

test("a picture without thumbnails is shown from the original, and so is a GIF, which may move", () => {
  expect(pictureSource(file({ thumbnail: undefined }), 72)).toBe(original);
  expect(pictureSource(file({ contentType: "image/gif" }), 72)).toBe(original);
});

test("a picture is shown when an event says that it is stored, and not before", () => {
  const waiting = file({ uploadStatus: "WAITING", thumbnail: undefined });
  expect(pictureSource(waiting, 72)).toBe(null);
  updateFile(file());
  expect(pictureSource(waiting, 72)).toBe(thumbnail(320));
});

test("the sender sees the chosen file", () => {
  const chosen = new File([new Uint8Array(3)], "p.png", { type: "image/png" });
  keepPreviews([{ id: 1, file: chosen, url: "blob:chosen" }], [file({ size: 3 })]);
  expect(pictureSource(file({ size: 3 }), 72)).toBe("blob:chosen");
});
