import { signal } from "../ui.js";

/** The id of the message being edited, null when none is. */
export const editing = signal(/** @type {string | null} */ (null));
