// Light or dark: as the system has it, or as was chosen here.

import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "ratequeue-theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

export const theme = signal<Theme>("system");

/** Rises when colours change, for what is drawn by script. */
export const paletteVersion = signal(0);

function show(next: Theme): void {
  theme.value = next;
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  paletteVersion.value += 1;
}

export function chooseTheme(next: Theme): void {
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // It then lasts as long as the page.
  }
  show(next);
}

export function startTheme(): void {
  show(stored());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    paletteVersion.value += 1;
  });
}
