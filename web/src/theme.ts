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
  const { dataset } = document.documentElement;
  if (theme.value === "system") delete dataset.theme;
  else dataset.theme = theme.value;
});
