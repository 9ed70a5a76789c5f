// Whether anybody can see this tab.
import { signal } from "./ui.js";

const look = () => document.visibilityState === "visible";

export const visible = signal(look());

addEventListener("visibilitychange", () => (visible.value = look()), true);
