// Whether this tab is visible.
import { signal } from "@preact/signals";

const isVisible = () => document.visibilityState === "visible";

export const visible = signal(isVisible());

addEventListener("visibilitychange", () => (visible.value = isVisible()), true);
