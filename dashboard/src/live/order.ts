// Which rows the overview shows, and in which order. Everything here is pure.

import type { Row } from "./board.ts";

export type Sort = "hottest" | "waiting" | "throughput" | "utilization" | "name";
export type State = "all" | "waiting" | "full" | "busy" | "idle";

export interface Filter {
  text: string;
  region: string;
  state: State;
}

const BUSY_MS = 10_000;

/** Where a resource stands: somebody waits, a limit is full, it is in use, or nothing happens. */
export function stateOf(row: Row, now: number): Exclude<State, "all"> | "unknown" {
  if (row.depth === null) return "unknown";
  if (row.depth > 0) return "waiting";
  if ((row.utilization?.ratio ?? 0) >= 0.995) return "full";
  if ((row.held ?? 0) > 0 || now - row.atMs < BUSY_MS) return "busy";
  return "idle";
}

export function matches(row: Row, filter: Filter, now: number): boolean {
  if (filter.text && !row.lower.includes(filter.text)) return false;
  if (filter.region && row.placement !== filter.region) return false;
  return filter.state === "all" || stateOf(row, now) === filter.state;
}

interface Scored {
  row: Row;
  score: number;
}

/** Hot is where callers wait, then what is nearly full, then what is used much. */
function heat(row: Row, rate: number): number {
  const waiting = row.depth ?? 0;
  const full = Math.min(1, row.utilization?.ratio ?? 0);
  return (waiting > 0 ? 10 + Math.log2(1 + waiting) * 10 : 0) + full * 5 + Math.log2(1 + rate);
}

function score(row: Row, sort: Sort, second: number): number {
  const rate = row.rate(second) ?? -1;
  switch (sort) {
    case "waiting":
      return row.depth ?? -1;
    case "throughput":
      return rate;
    case "utilization":
      return row.utilization?.ratio ?? -1;
    case "hottest":
      return heat(row, Math.max(0, rate));
    case "name":
      return 0;
  }
}

const collator = new Intl.Collator("en", { numeric: true });

/** Rows in their order, the first of it first. Each score is computed once: ten thousand rows are sorted in a few ms. */
export function arrange(rows: Iterable<Row>, filter: Filter, sort: Sort, now: number): Row[] {
  const second = Math.floor(now / 1_000);
  const found: Scored[] = [];
  for (const row of rows) {
    if (matches(row, filter, now)) found.push({ row, score: score(row, sort, second) });
  }
  found.sort((a, b) => b.score - a.score || collator.compare(a.row.name, b.row.name));
  return found.map((scored) => scored.row);
}
