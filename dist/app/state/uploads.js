// Messages with files, sent over HTTP. They do not wait for each other, and may arrive in another order.
import * as api from "../api.js";
import { ApiError } from "../http.js";
import { link } from "../live/stomp.js";
import { backoff, pauseOrOnline } from "../backoff.js";
import { me } from "../session.js";
import { restoreDraft } from "./drafts.js";
import { addPending, atEndOf, changePending, findPending, removePending } from "./pending.js";

/** @typedef {import("./attachments.js").Attachment} Attachment */

const MOST_TRIES = 5;
/** How long the channel has to deliver what the server has confirmed. */
const DELIVERY_LIMIT_MS = 15_000;

/** @param {string} channelId @param {string} content @param {Attachment[]} files */
export function upload(channelId, content, files) {
  void deliver(addPending(channelId, content, files).clientMessageId);
}

/** @param {string} clientMessageId */
export function uploadAgain(clientMessageId) {
  changePending(clientMessageId, { state: "uploading", reason: undefined });
  void deliver(clientMessageId);
}

/** Ends it, if it was under way, and puts it back where it was written. @param {string} clientMessageId */
export function takeBack(clientMessageId) {
  const message = findPending(clientMessageId);
  if (!message) return;
  removePending(clientMessageId);
  restoreDraft(message.channelId, message.content, message.files.map(({ file }) => file));
}

/** @param {string} clientMessageId */
async function deliver(clientMessageId) {
  const cancel = new AbortController();
  atEndOf(clientMessageId, () => cancel.abort());
  for (let attempt = 0; ; attempt++) {
    const message = findPending(clientMessageId);
    if (!message || cancel.signal.aborted) return;
    const { content, channelId, files, progress } = message;
    progress.value = 0;
    try {
      await api.postMessage(
        { content, channelId, authorId: me.peek()?.id ?? "", clientMessageId },
        files.map(({ file }) => file),
        { signal: cancel.signal, onProgress: (part) => (progress.value = part) },
      );
      return confirmed(clientMessageId);
    } catch (error) {
      if (cancel.signal.aborted) return;
      const transient = error instanceof ApiError && error.transient;
      if (!transient || attempt >= MOST_TRIES) {
        const reason = error instanceof Error ? error.message : String(error);
        return changePending(clientMessageId, { state: "failed", reason });
      }
      await pauseOrOnline(backoff(attempt));
    }
  }
}

/**
 * It stays until the channel delivers it, as any message: put in its place by us, it could hide others before it.
 *
 * @param {string} clientMessageId
 */
function confirmed(clientMessageId) {
  changePending(clientMessageId, { state: "stored" });
  // Without a connection it is delivered, or read, when that is back.
  const timer = setInterval(() => link.peek() === "on" && removePending(clientMessageId), DELIVERY_LIMIT_MS);
  atEndOf(clientMessageId, () => clearInterval(timer));
}
