// Files the server keeps, as far as their state changes: accepted, then stored or lost. And pictures of our own that need
// not be fetched, because they were sent from here.
import * as api from "../api.js";
import { signal } from "../ui.js";
import { retry } from "./retry.js";

/** @typedef {import("../types.js").BinaryContent} BinaryContent */
/** @typedef {import("./attachments.js").Attachment} Attachment */

/** Told states and previews kept; the oldest go first. */
const MOST_HEARD = 500;
const MOST_PREVIEWS = 40;
/** Ids asked about in one call: they travel in the address. */
const ASKED_AT_ONCE = 50;

/** Kinds that the server shows in place and browsers can draw. */
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** The last thing heard of each, by id. An event may come before the message that names the file. */
const heard = signal(/** @type {Map<string, BinaryContent>} */ (new Map()));
/** Addresses in memory, by file id. @type {Map<string, string>} */
const previews = new Map();

/** @param {BinaryContent} file as it was when it was read */
export const latest = (file) => (file.uploadStatus === "WAITING" ? (heard.value.get(file.id) ?? file) : file);

/** @param {{contentType: string}} file */
export const isPicture = ({ contentType }) => PICTURES.has(contentType.toLowerCase());

/** @param {BinaryContent} file */
export function heardOfFile(file) {
  const known = heard.peek().get(file.id);
  // Stored or lost is the end of it: what says otherwise is older.
  if (known && known.uploadStatus !== "WAITING") return;
  const next = new Map(heard.peek()).set(file.id, file);
  if (next.size > MOST_HEARD) next.delete(/** @type {string} */ (next.keys().next().value));
  heard.value = next;
}

/** Asks about those that were waiting, after events may have been missed. @param {BinaryContent[]} files */
export async function askAbout(files) {
  const ids = files.filter((file) => latest(file).uploadStatus === "WAITING").map((file) => file.id);
  for (let from = 0; from < ids.length; from += ASKED_AT_ONCE) {
    const some = ids.slice(from, from + ASKED_AT_ONCE);
    for (const file of await retry(() => api.binaryContents(some))) heardOfFile(file);
  }
}

/** What to show a picture from. @param {BinaryContent} file @returns {string | null} null while there is nothing */
export function pictureSource(file) {
  return previews.get(file.id) ?? (latest(file).uploadStatus === "SUCCESS" ? api.fileLink(file.id) : null);
}

/** Sent files have become stored ones, in the same order. @param {Attachment[]} sent @param {BinaryContent[]} stored */
export function keepPreviews(sent, stored) {
  for (const [at, { url, file }] of sent.entries()) {
    if (!url) continue;
    if (isPicture(stored[at] ?? { contentType: "" }) && stored[at].size === file.size) previews.set(stored[at].id, url);
    else URL.revokeObjectURL(url);
  }
  for (const [id, url] of previews) {
    if (previews.size <= MOST_PREVIEWS) break;
    URL.revokeObjectURL(url);
    previews.delete(id);
  }
}

export function forgetFiles() {
  heard.value = new Map();
  for (const url of previews.values()) URL.revokeObjectURL(url);
  previews.clear();
}
