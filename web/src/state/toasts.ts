// Short messages in a corner that disappear after 6 s.
import { signal } from "@preact/signals";
import { ApiError } from "../http";
import { messageOf } from "../i18n/errors";

const DURATION_MS = 6_000;
const MAX_TOASTS = 4;

export type Toast = { id: number; kind: "error" | "info"; text: string };

export const toasts = signal<Toast[]>([]);
let lastId = 0;

export function toast(text: string, kind: Toast["kind"] = "info") {
  const id = ++lastId;
  // Replaces an equal toast.
  const others = toasts.value.filter((each) => each.text !== text);
  toasts.value = [...others, { id, kind, text }].slice(-MAX_TOASTS);
  setTimeout(() => dismiss(id), DURATION_MS);
}

export function dismiss(id: number) {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

/** Shows an error with the server's message. */
export function toastError(error: unknown) {
  // The session has ended, and the sign-in form shows the reason.
  if (error instanceof ApiError && error.status === 401) return;
  if (!(error instanceof ApiError)) console.error(error);
  toast(error instanceof Error ? messageOf(error) : String(error), "error");
}
