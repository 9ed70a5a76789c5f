// Messages on their way. Each is shown at once, and goes when the channel delivers the real one with the same
// clientMessageId. Sending one twice is harmless: the server stores it once.
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
 * @property {number} tries refusals that might have passed
 * @property {{value: number}} progress of the upload, 0 to 1; a signal, for the list need not be drawn anew with each step
 * @property {string} [reason] why it failed
 */

/** In the order they were written. */
export const pending = signal(/** @type {Pending[]} */ ([]));

/** What has to be ended with each. @type {Map<string, () => void>} */
const ends = new Map();

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

/** @param {string} clientMessageId @param {Partial<Pending>} news */
export function changePending(clientMessageId, news) {
  pending.value = pending.peek().map((each) => (each.clientMessageId === clientMessageId ? { ...each, ...news } : each));
}

/** @param {string} clientMessageId @param {() => void} end run once, when it goes or when this is called again */
export function atEndOf(clientMessageId, end) {
  ends.get(clientMessageId)?.();
  ends.set(clientMessageId, end);
}

/** @param {string} clientMessageId */
export function removePending(clientMessageId) {
  for (const file of findPending(clientMessageId)?.files ?? []) release(file);
  drop(clientMessageId);
}

/** @param {string} clientMessageId */
function drop(clientMessageId) {
  atEndOf(clientMessageId, () => {});
  ends.delete(clientMessageId);
  pending.value = pending.peek().filter((each) => each.clientMessageId !== clientMessageId);
}

/** A message was delivered: if it is one of ours, it has arrived. @param {Message} message */
export function settle(message) {
  if (!message.clientMessageId || message.author?.id !== me.peek()?.id) return;
  const arrived = findPending(message.clientMessageId);
  if (!arrived) return;
  keepPreviews(arrived.files, message.attachments ?? []);
  drop(message.clientMessageId);
}

export function forgetPending() {
  for (const { clientMessageId } of pending.peek()) removePending(clientMessageId);
}
