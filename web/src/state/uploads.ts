// Messages with files, sent over HTTP. They are sent concurrently and may arrive in another order.
import * as api from "../api";
import { ApiError } from "../http";
import { messageOf } from "../i18n/errors";
import { connection } from "../live/link";
import { backoff, pauseOrOnline } from "../backoff";
import { me } from "../session";
import { addPending, setCleanup, changePending, findPending, removePending } from "./pending";
import type { Attachment } from "./attachments";

/** Time for the channel to deliver a message that the server has stored. */
const DELIVERY_TIMEOUT_MS = 15_000;

/** @param clientMessageId of an earlier try with the same content and files */
export function upload(channelId: string, content: string, files: Attachment[], clientMessageId?: string) {
  void deliver(addPending(channelId, content, files, clientMessageId).clientMessageId);
}

export function retryUpload(clientMessageId: string) {
  changePending(clientMessageId, { state: "uploading", reason: undefined });
  void deliver(clientMessageId);
}

async function deliver(clientMessageId: string) {
  const cancel = new AbortController();
  setCleanup(clientMessageId, () => cancel.abort());
  for (let attempt = 0; ; attempt++) {
    const message = findPending(clientMessageId);
    if (!message || cancel.signal.aborted) return;
    const { content, channelId, files, progress } = message;
    progress.value = 0;
    const onProgress = (part: number) => {
      progress.value = part;
      if (part >= 1) changePending(clientMessageId, { published: true });
    };
    try {
      await api.postMessage(
        { content, channelId, authorId: me.peek()?.id ?? "", clientMessageId },
        files.map(({ file }) => file),
        { signal: cancel.signal, onProgress },
      );
      return confirmed(clientMessageId);
    } catch (error) {
      if (cancel.signal.aborted) return;
      const transient = error instanceof ApiError && error.transient;
      // While the server may have it, it must not be shown as not sent.
      if (!transient) {
        const reason = error instanceof Error ? messageOf(error) : String(error);
        return changePending(clientMessageId, { state: "failed", reason });
      }
      await pauseOrOnline(backoff(attempt));
    }
  }
}

/**
 * Keeps the pending message until the channel delivers it. Adding the stored one here could hide messages before it.
 */
export function confirmed(clientMessageId: string) {
  changePending(clientMessageId, { state: "stored" });
  // Without a connection, the next one delivers it or reads it.
  const timer = setInterval(() => connection.peek() === "on" && removePending(clientMessageId), DELIVERY_TIMEOUT_MS);
  setCleanup(clientMessageId, () => clearInterval(timer));
}
