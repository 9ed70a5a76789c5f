// Upload states of files on the server, and previews of pictures that this tab sent.
import { signal } from "@preact/signals";
import * as api from "../api";
import { retry } from "./retry";
import type { BinaryContent } from "../types";
import type { Attachment } from "./attachments";

/** Limits of the two maps; the oldest entries are evicted. */
const MAX_STATES = 500;
const MAX_PREVIEWS = 40;
/** Ids per request, because they are in the URL. */
const BATCH = 50;

/** Types that the server serves inline and browsers can draw. */
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** The newest state by file id. An event may arrive before the message with the file. */
const states = signal<Map<string, BinaryContent>>(new Map());
/** Object URLs by file id. */
const previews: Map<string, string> = new Map();

/** The file in its newest known state. */
export const latest = (file: BinaryContent) =>
  file.uploadStatus === "WAITING" ? (states.value.get(file.id) ?? file) : file;

export const isPicture = ({ contentType }: { contentType: string }) => PICTURES.has(contentType.toLowerCase());

/** The element that plays a file in this browser, or null. */
export function playerOf({ contentType }: { contentType: string }): "audio" | "video" | null {
  const kind = (["audio", "video"] as const).find((each) => contentType.toLowerCase().startsWith(`${each}/`));
  return kind && document.createElement(kind).canPlayType(contentType) ? kind : null;
}

export function updateFile(file: BinaryContent) {
  const known = states.peek().get(file.id);
  // SUCCESS and FAILED are final; another state is older.
  if (known && known.uploadStatus !== "WAITING") return;
  const next = new Map(states.peek()).set(file.id, file);
  if (next.size > MAX_STATES) next.delete(next.keys().next().value as string);
  states.value = next;
}

/** Reads the states of waiting files again, because events may have been missed. */
export async function refreshFiles(files: BinaryContent[]) {
  const ids = files.filter((file) => latest(file).uploadStatus === "WAITING").map((file) => file.id);
  for (let from = 0; from < ids.length; from += BATCH) {
    const batch = ids.slice(from, from + BATCH);
    for (const file of await retry(() => api.binaryContents(batch))) updateFile(file);
  }
}

/**
 * The URL of a picture, for a frame of this width in CSS pixels.
 *
 * @returns null while it is not available
 */
export function pictureSource(file: BinaryContent, frame = Infinity): string | null {
  const { id, uploadStatus, thumbnail, contentType } = latest(file);
  const preview = previews.get(id);
  if (preview) return preview;
  if (uploadStatus !== "SUCCESS") return null;
  const width = frame * devicePixelRatio;
  // A thumbnail does not move. The widest one also serves a frame that is a little wider.
  if (!thumbnail || contentType === "image/gif" || width > 2 * 640) return api.fileLink(id);
  return api.thumbnailLink(id, width > 320 ? 640 : 320);
}

/** Keys previews by the stored files' ids; the order is the same. */
export function keepPreviews(sent: Attachment[], stored: BinaryContent[]) {
  for (const [at, { url, file }] of sent.entries()) {
    if (!url) continue;
    if (isPicture(stored[at] ?? { contentType: "" }) && stored[at].size === file.size) previews.set(stored[at].id, url);
    else URL.revokeObjectURL(url);
  }
  for (const [id, url] of previews) {
    if (previews.size <= MAX_PREVIEWS) break;
    URL.revokeObjectURL(url);
    previews.delete(id);
  }
}

export function clearFiles() {
  states.value = new Map();
  for (const url of previews.values()) URL.revokeObjectURL(url);
  previews.clear();
}
