// What the overview knows: one row a resource. Rows are plain objects that are changed in place; views look at them
// when the ticker says so, so that a thousand events a second cost a thousand assignments and four paints.

import type { LogEvent, Resource, Series, StatsRange } from "../api/types.ts";
import { clock } from "./clock.ts";
import { Ring } from "./ring.ts";

export class Row {
  depth: number | null = null;
  held: number | null = null;
  utilization: { name: string; ratio: number } | null = null;
  /** When the depth was so, by the node's clock. */
  atMs = 0;
  rejectedAtMs = 0;
  #ring: Ring | null = null;
  readonly lower: string;

  constructor(
    readonly name: string,
    public placement: string,
    public spec: Resource | null,
  ) {
    this.lower = name.toLowerCase();
  }

  /** Made when it is first needed: most of many resources are idle. */
  get ring(): Ring {
    this.#ring ??= new Ring();
    return this.#ring;
  }

  get hasRing(): boolean {
    return this.#ring !== null;
  }

  rate(nowSecond: number): number | null {
    if (this.#ring) return this.#ring.rate(nowSecond);
    return this.depth === null ? null : 0;
  }
}

export class Board {
  readonly rows = new Map<string, Row>();
  /** Rises when rows come or go. */
  shape = 0;

  upsert(spec: Resource): Row {
    const known = this.rows.get(spec.name);
    if (known) {
      known.spec = spec;
      known.placement = spec.placement;
      return known;
    }
    return this.#add(new Row(spec.name, spec.placement, spec));
  }

  #add(row: Row): Row {
    this.rows.set(row.name, row);
    this.shape += 1;
    return row;
  }

  /** Takes rows away that a fresh list no longer has. */
  keepOnly(names: Set<string>): void {
    for (const row of this.rows.values()) {
      // A row without limits has come by an event, after the list was read.
      if (!names.has(row.name) && row.spec) this.remove(row.name);
    }
  }

  remove(name: string): void {
    if (this.rows.delete(name)) this.shape += 1;
  }

  /** Answers the name of a resource whose limits have to be read: it is new, or they have changed. */
  apply(event: LogEvent): string | null {
    clock.note(event.at_ms);
    const name = event.resource;
    if (name === undefined) return null;
    if (event.kind === "deleted") {
      this.remove(name);
      return null;
    }

    const known = this.rows.get(name);
    const row = known ?? this.#add(new Row(name, event.group, null));
    // Two events of one resource come in the order of the log.
    row.depth = event.queue_depth ?? row.depth;
    row.held = event.held ?? row.held;
    row.atMs = event.at_ms;
    if (event.kind === "rejected" || event.kind === "timed_out") row.rejectedAtMs = event.at_ms;
    row.ring.record(Math.floor(event.at_ms / 1_000), row.depth ?? 0, event.kind === "granted" ? 1 : 0);
    return !known || event.kind === "limit_changed" ? name : null;
  }

  /** Takes over what the server has counted. Where an event is newer than that, the event stands. */
  take(stats: StatsRange, first: boolean): void {
    const endSecond = Math.floor(stats.end_ms / 1_000) - 1;
    for (const [name, series] of Object.entries(stats.resources)) {
      const row = this.rows.get(name);
      if (row) takeSeries(row, series, stats.end_ms, endSecond, first);
    }
  }

  /** What the server does not follow is idle, unless it follows as many as it can. */
  settleIdle(groups: string[], followedAll: boolean): void {
    if (!followedAll) return;
    for (const row of this.rows.values()) {
      if (row.depth === null && groups.includes(row.placement)) {
        row.depth = 0;
        row.held ??= 0;
      }
    }
  }
}

function lastKnown(column: (number | null)[] | undefined): number | null {
  for (let i = (column?.length ?? 0) - 1; i >= 0; i--) {
    const value = column?.[i];
    if (value != null) return value;
  }
  return null;
}

function takeSeries(row: Row, series: Series, endMs: number, endSecond: number, first: boolean): void {
  const depth = lastKnown(series.queue_depth);
  if (endMs >= row.atMs || row.depth === null) {
    row.depth = depth ?? row.depth;
    row.held = lastKnown(series.held) ?? row.held;
  }
  if (first) row.ring.fill(endSecond, series.queue_depth, series.granted);
  if (series.utilization) row.utilization = fullestOf(series.utilization) ?? row.utilization;
}

function fullestOf(utilization: Record<string, (number | null)[]>): Row["utilization"] {
  let most: Row["utilization"] = null;
  for (const [name, column] of Object.entries(utilization)) {
    const ratio = lastKnown(column);
    if (ratio !== null && (!most || ratio > most.ratio)) most = { name, ratio };
  }
  return most;
}
