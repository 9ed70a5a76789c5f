// Short messages in a corner that disappear after 6 s.
import { ApiError } from "../http.js";
import { signal } from "../ui.js";

const DURATION_MS = 6_000;
const MAX_TOASTS = 4;

/** @typedef {{id: number, kind: "error" | "info", text: string}} Toast */

export const toasts = signal(/** @type {Toast[]} */ ([]));
let lastId = 0;

/** @param {string} text @param {Toast["kind"]} [kind] */
export function toast(text, kind = "info") {
  const id = ++lastId;
  // Replaces an equal toast.
  const others = toasts.value.filter((each) => each.text !== text);
  toasts.value = [...others, { id, kind, text }].slice(-MAX_TOASTS);
  setTimeout(() => dismiss(id), DURATION_MS);
}

/** @param {number} id */
export function dismiss(id) {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

/** Shows an error with the server's message. @param {unknown} error */
export function toastError(error) {
  // The session has ended, and the sign-in form shows the reason.
  if (error instanceof ApiError && error.status === 401) return;
  if (!(error instanceof ApiError)) console.error(error);
  toast(error instanceof Error ? error.message : String(error), "error");
}
