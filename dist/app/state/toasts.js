// Short messages that appear in a corner and go away by themselves.
import { ApiError } from "../http.js";
import { signal } from "../ui.js";

const STAYS_MS = 6_000;
const MOST = 4;

/** @typedef {{id: number, kind: "error" | "info", text: string}} Toast */

export const toasts = signal(/** @type {Toast[]} */ ([]));
let lastId = 0;

/** @param {string} text @param {Toast["kind"]} [kind] */
export function toast(text, kind = "info") {
  const id = ++lastId;
  // The same sentence twice in a row says nothing new.
  const others = toasts.value.filter((each) => each.text !== text);
  toasts.value = [...others, { id, kind, text }].slice(-MOST);
  setTimeout(() => dismiss(id), STAYS_MS);
}

/** @param {number} id */
export function dismiss(id) {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

/** Shows what went wrong in the server's own words. @param {unknown} error */
export function toastError(error) {
  // The session has ended: the sign-in form says so.
  if (error instanceof ApiError && error.status === 401) return;
  if (!(error instanceof ApiError)) console.error(error);
  toast(error instanceof Error ? error.message : String(error), "error");
}
