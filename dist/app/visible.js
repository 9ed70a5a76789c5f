// Whether this tab is visible.
import { signal } from "./ui.js";

const isVisible = () => document.visibilityState === "visible";

export const visible = signal(isVisible());

addEventListener("visibilitychange", () => (visible.value = isVisible()), true);
