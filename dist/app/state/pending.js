// Pending messages. Each is shown at once and removed when the channel delivers the message with the same
// clientMessageId. A resend is harmless: the server stores a clientMessageId once.
import { me } from "../session.js";
import { uuid } from "../text/uuid.js";
import { signal } from "../ui.js";
import { release } from "./attachments.js";
import { keepPreviews } from "./files.js";

/** @typedef {import("../types.js").Message} Message */

/**
 * @typedef {object} Pending
 * @property {string} clientMessageId
 * @property {string} channelId
 * @property {string} content
 * @property {import("./attachments.js").Attachment[]} files
 * @property {string} createdAt
 * @property {"waiting" | "sent" | "uploading" | "stored" | "failed"} state waiting and sent: over STOMP; uploading and
 *   stored: with files
 * @property {number} tries transient refusals so far
 * @property {{value: number}} progress of the upload, 0 to 1; a signal, so that a step does not render the list
 * @property {string} [reason] of the failure
 */

/** In the order of writing. */
export const pending = signal(/** @type {Pending[]} */ ([]));

/** Cleanup by clientMessageId. @type {Map<string, () => void>} */
const cleanups = new Map();

/** @param {string} channelId @param {string} content @param {Pending["files"]} files */
export function addPending(channelId, content, files) {
  /** @type {Pending} */
  const message = {
    clientMessageId: uuid(),
    channelId,
    content,
    files,
    createdAt: new Date().toISOString(),
    state: files.length ? "uploading" : "waiting",
    tries: 0,
    progress: signal(0),
  };
  pending.value = [...pending.peek(), message];
  return message;
}

/** @param {string} clientMessageId */
export const findPending = (clientMessageId) =>
  pending.peek().find((each) => each.clientMessageId === clientMessageId);

/** @param {string} clientMessageId @param {Partial<Pending>} changes */
export function changePending(clientMessageId, changes) {
  pending.value = pending.peek().map((each) => (each.clientMessageId === clientMessageId ? { ...each, ...changes } : each));
}

/** @param {string} clientMessageId @param {() => void} cleanup runs once: on removal or at the next call */
export function setCleanup(clientMessageId, cleanup) {
  cleanups.get(clientMessageId)?.();
  cleanups.set(clientMessageId, cleanup);
}

/** @param {string} clientMessageId */
export function removePending(clientMessageId) {
  for (const file of findPending(clientMessageId)?.files ?? []) release(file);
  drop(clientMessageId);
}

/** @param {string} clientMessageId */
function drop(clientMessageId) {
  setCleanup(clientMessageId, () => {});
  cleanups.delete(clientMessageId);
  pending.value = pending.peek().filter((each) => each.clientMessageId !== clientMessageId);
}

/** Removes the pending message that a delivered message confirms. @param {Message} message */
export function settle(message) {
  if (!message.clientMessageId || message.author?.id !== me.peek()?.id) return;
  const confirmed = findPending(message.clientMessageId);
  if (!confirmed) return;
  keepPreviews(confirmed.files, message.attachments ?? []);
  drop(message.clientMessageId);
}
