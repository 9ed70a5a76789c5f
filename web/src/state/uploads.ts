// Messages with files, sent over HTTP. They are sent concurrently and may arrive in another order.
import * as api from "../api";
import { ApiError } from "../http";
import { list, t } from "../i18n";
import { messageOf } from "../i18n/errors";
import { connection } from "../live/link";
import { backoff, pauseOrOnline } from "discodeit-client";
import { me } from "../session";
import { addPending, setCleanup, changePending, findPending, removePending, requestOf } from "./pending";
import { lostFiles } from "./attachments";
import type { Attachment } from "./attachments";
import type { Pending } from "./pending";
import type { Reply } from "../types";

/** Time for the channel to deliver a message that the server has stored. */
const DELIVERY_TIMEOUT_MS = 15_000;

/** @param clientMessageId of an earlier try with the same content and files */
export function upload(
  channelId: string,
  content: string,
  files: Attachment[],
  replyTo: Reply | null = null,
  clientMessageId?: string,
) {
  void deliver(addPending(channelId, content, files, replyTo, clientMessageId).clientMessageId);
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
    const { files, progress } = message;
    // The request would fail as if there was no connection, and would be repeated for ever.
    const lost = await lostFiles(files);
    if (cancel.signal.aborted) return;
    if (lost.length) return changePending(clientMessageId, { state: "failed", reason: lossOf(lost), lost });
    progress.value = 0;
    const onProgress = (part: number) => {
      progress.value = part;
      if (part >= 1) changePending(clientMessageId, { published: true });
    };
    try {
      await api.postMessage(
        requestOf(message, me.peek()?.id ?? ""),
        files.map(({ file }) => file),
        { signal: cancel.signal, onProgress },
      );
      return confirmed(clientMessageId);
    } catch (error) {
      if (cancel.signal.aborted) return;
      const transient = error instanceof ApiError && error.transient;
      // While the server may have it, it must not be shown as not sent.
      if (!transient) {
        if (error instanceof ApiError && error.details["replyTo"])
          return changePending(clientMessageId, originalGone());
        const reason = error instanceof Error ? messageOf(error) : String(error);
        return changePending(clientMessageId, { state: "failed", reason });
      }
      await pauseOrOnline(backoff(attempt));
    }
  }
}

/** Of a reply to a message that was deleted meanwhile: another try sends it as a message of its own. */
export const originalGone = (): Partial<Pending> => ({
  state: "failed",
  reason: t("The message that it replies to was deleted. Try again to send it without the reply."),
  replyTo: null,
});

function lossOf(lost: Attachment[]) {
  const names = lost.map(({ file }) => `“${file.name}”`);
  return lost.length === 1
    ? t("{name} was changed or deleted after you chose it.", { name: names[0] })
    : t("{names} were changed or deleted after you chose them.", { names: list(names) });
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
