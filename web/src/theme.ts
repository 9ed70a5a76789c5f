// Dark, light, or as the system.
import { effect, signal } from "@preact/signals";
import { stored } from "./storage";

export type Theme = "system" | "dark" | "light";

const KEY = "discodeit.theme";

function kept(): Theme {
  const value = stored.get(KEY);
  return value === "dark" || value === "light" ? value : "system";
}

export const theme = signal(kept());

export function chooseTheme(chosen: Theme) {
  stored.set(KEY, chosen);
  theme.value = chosen;
}

// Another tab chose.
addEventListener("storage", ({ key }) => key === KEY && (theme.value = kept()));

effect(() => {
  const chosen = theme.value;
  const { dataset } = document.documentElement;
  if (chosen === "system") delete dataset.theme;
  else dataset.theme = chosen;
  // The colours of the browser's bars, of which index.html has one for each theme.
  for (const meta of document.querySelectorAll<HTMLMetaElement>("meta[name=theme-color]")) {
    meta.dataset.theme ??= meta.media.includes("dark") ? "dark" : "light";
    const own = meta.dataset.theme;
    meta.media = chosen === "system" ? `(prefers-color-scheme: ${own})` : chosen === own ? "all" : "not all";
  }
});
