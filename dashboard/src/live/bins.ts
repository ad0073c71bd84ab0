// Fewer points for a chart: nine hundred seconds on four hundred pixels are noise. Everything here is pure.

import type { Column } from "../api/types.ts";

export type Fold = "mean" | "most" | "last";

/** How many buckets become one point, so that about `points` remain. */
export function binSize(length: number, points = 180): number {
  return Math.max(1, Math.round(length / points));
}

function fold(values: number[], how: Fold): number | null {
  if (values.length === 0) return null;
  if (how === "most") return Math.max(...values);
  if (how === "last") return values[values.length - 1] ?? null;
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * Folds `size` buckets into one. `start` is the number of the first bucket since the epoch: bins are cut at multiples of
 * `size`, so that points keep their values while time moves on. The last bin may not be full yet.
 */
export function bins(column: Column, size: number, start: number, how: Fold): Column {
  if (size === 1) return column;
  const folded: Column = [];
  let open: number[] = [];
  for (let i = 0; i < column.length; i++) {
    const value = column[i];
    if (value != null) open.push(value);
    if ((start + i + 1) % size === 0 || i === column.length - 1) {
      folded.push(fold(open, how));
      open = [];
    }
  }
  return folded;
}

/** The end of each bin, in Unix seconds. */
export function binEnds(length: number, size: number, start: number, stepMs: number): number[] {
  const ends: number[] = [];
  for (let i = 0; i < length; i++) {
    if ((start + i + 1) % size === 0 || i === length - 1) ends.push(((start + i + 1) * stepMs) / 1_000);
  }
  return ends;
}
