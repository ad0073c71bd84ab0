// The colours of the style sheet, for what is drawn on a canvas.

import { paletteVersion } from "./theme.ts";

const NAMES = ["accent", "warm", "red", "green", "violet", "text-3", "line"] as const;
export type ColorName = (typeof NAMES)[number];
type Palette = Record<ColorName, string>;

let known: { version: number; palette: Palette } | null = null;

function read(): Palette {
  // A custom property keeps its light-dark() unresolved; a color does not.
  const probe = document.createElement("span");
  document.body.append(probe);
  const entries = NAMES.map((name): [ColorName, string] => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  });
  probe.remove();
  return Object.fromEntries(entries) as Palette;
}

export function palette(): Palette {
  const version = paletteVersion.value;
  if (known?.version !== version) known = { version, palette: read() };
  return known.palette;
}

/** A colour with another opacity: computed colours are `rgb(r, g, b)`. */
export function faint(color: string, alpha: number): string {
  return color.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
}
