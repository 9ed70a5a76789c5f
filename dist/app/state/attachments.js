// Files chosen for a message that is not sent yet.
import { sizeOf } from "../text/size.js";
import { isPicture } from "./files.js";

/** What the server takes. */
export const MOST_FILES = 10;
export const LARGEST_FILE = 10 * 1024 * 1024;
/** Of 50 MB for a request, what the text around the files may need is left. */
const LARGEST_TOGETHER = 50 * 1024 * 1024 - 128 * 1024;

/**
 * @typedef {object} Attachment
 * @property {number} id in this tab
 * @property {File} file
 * @property {string | null} url of a picture, in memory
 */

let lastId = 0;

/**
 * Takes as many as fit.
 *
 * @param {Attachment[]} held
 * @param {File[]} more
 * @returns {{files: Attachment[], refused: string | null}} `refused`: why some were not taken, for people
 */
export function withFiles(held, more) {
  const files = [...held];
  let together = held.reduce((sum, { file }) => sum + file.size, 0);
  /** @type {Set<string>} */
  const reasons = new Set();
  for (const file of more) {
    const reason = objection(file, files.length, together);
    if (reason) {
      reasons.add(reason);
      continue;
    }
    together += file.size;
    files.push({ id: ++lastId, file, url: isPicture({ contentType: file.type }) ? URL.createObjectURL(file) : null });
  }
  return { files, refused: reasons.size ? [...reasons].join(" ") : null };
}

/** @param {File} file @param {number} count @param {number} together */
function objection(file, count, together) {
  if (count >= MOST_FILES) return `A message can have ${MOST_FILES} files at most.`;
  if (file.size === 0) return `“${file.name}” is empty.`;
  if (file.size > LARGEST_FILE) {
    return `“${file.name}” is too large: a file can have ${sizeOf(LARGEST_FILE)} at most.`;
  }
  if (together + file.size > LARGEST_TOGETHER) return "The files of a message can have 50 MB together at most.";
  return null;
}

/** Its picture is needed no more. @param {Attachment} attachment */
export function release({ url }) {
  if (url) URL.revokeObjectURL(url);
}
