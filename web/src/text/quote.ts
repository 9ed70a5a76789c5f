// What a reply shows of its original.
import type { Message, Reply } from "../types";

/** In code points. The server shortens excerpts to it, and so the texts of notifications. */
export const MAX_EXCERPT_LENGTH = 200;

export function quoteOf({ id, seq, author, content, attachments }: Message): Reply {
  const files = (attachments ?? []).map((file) => file.fileName).join(", ");
  const whole = [...(content.trim() || files)];
  const excerpt = whole.slice(0, MAX_EXCERPT_LENGTH).join("") + (whole.length > MAX_EXCERPT_LENGTH ? "…" : "");
  return { id, seq, author, excerpt, deleted: false };
}
