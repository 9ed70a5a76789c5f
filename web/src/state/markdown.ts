// The parser of messages, which is not needed to sign in: loaded when a user is signed in, and before the first message.
import { signal } from "@preact/signals";
import { backoff, pauseOrOnline } from "../backoff";
import type { Markdown } from "../text/markdown";

/** Null until it is loaded. Messages are plain text while it cannot be. */
export const parse = signal<((content: string) => Markdown[]) | null>(null);

let loading = false;

export async function loadMarkdown() {
  if (loading) return;
  loading = true;
  for (let attempt = 0; ; attempt++) {
    try {
      const { parseMarkdown } = await import("../text/markdown");
      parse.value = parseMarkdown;
      return;
    } catch (error) {
      console.warn("loading the parser of messages failed:", error);
      parse.value ??= (content) => [content];
      await pauseOrOnline(backoff(attempt));
    }
  }
}
