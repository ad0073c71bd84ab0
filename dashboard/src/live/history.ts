// Series of one resource for its charts: read once, then only what is new.

import { signal } from "@preact/signals";
import { failureWords, get, query } from "../api/client.ts";
import type { Column, Series, StatsRange } from "../api/types.ts";
import { clock } from "./clock.ts";

export const RANGES = [
  { value: "1m", label: "1 min", ms: 60_000 },
  { value: "5m", label: "5 min", ms: 300_000 },
  { value: "15m", label: "15 min", ms: 900_000 },
  { value: "1h", label: "1 h", ms: 3_600_000 },
  { value: "6h", label: "6 h", ms: 21_600_000 },
] as const;
export type Range = (typeof RANGES)[number]["value"];

export interface History {
  stepMs: number;
  endMs: number;
  sinceMs: number;
  series: Series;
}

function joinColumn(old: Column, fresh: Column, length: number): Column {
  const joined = fresh.length >= length ? fresh : [...old, ...fresh];
  return joined.slice(-length);
}

const COLUMNS = [
  "queue_depth",
  "held",
  "granted",
  "released",
  "rejected",
  "expired",
  "wait_p50_ms",
  "wait_p99_ms",
] as const;

/** `old` with the buckets of `fresh` after it, as long as before. Null when they do not join. */
export function join(old: History, fresh: History, length: number): History | null {
  const count = fresh.series.queue_depth.length;
  if (old.stepMs !== fresh.stepMs || fresh.endMs - count * fresh.stepMs !== old.endMs) return null;

  const series = { ...fresh.series };
  for (const name of COLUMNS) series[name] = joinColumn(old.series[name], fresh.series[name], length);
  series.utilization = {};
  for (const [name, column] of Object.entries(fresh.series.utilization ?? {})) {
    // A limit that has come since has no past.
    const before = old.series.utilization?.[name] ?? old.series.queue_depth.map(() => null);
    series.utilization[name] = joinColumn(before, column, length);
  }
  return { ...fresh, series };
}

export class HistoryReader {
  readonly history = signal<History | null>(null);
  readonly error = signal<string | null>(null);
  /** True once it is known that the server follows no series of the resource. */
  readonly unknown = signal(false);

  #timer: ReturnType<typeof setTimeout> | undefined;
  #stop = new AbortController();

  constructor(
    readonly name: string,
    readonly range: Range,
    readonly region: string | undefined,
  ) {}

  start(): void {
    void this.#round();
  }

  close(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  async #round(): Promise<void> {
    if (!document.hidden) await this.#read().catch((error: unknown) => this.#fail(error));
    const step = this.history.value?.stepMs ?? 1_000;
    if (!this.#stop.signal.aborted) this.#timer = setTimeout(() => void this.#round(), Math.max(2_000, step));
  }

  #fail(error: unknown): void {
    if (!this.#stop.signal.aborted) this.error.value = failureWords(error);
  }

  async #read(): Promise<void> {
    const old = this.history.value;
    const fresh = await this.#fetch(old?.endMs ?? null);
    this.error.value = null;
    this.unknown.value = fresh === null;
    if (!fresh) return;
    if (fresh.series.queue_depth.length === 0) return;

    const joined = old ? join(old, fresh, old.series.queue_depth.length) : fresh;
    // A hole, after the page was hidden for long or another node answers: all of it is read again.
    this.history.value = joined ?? (await this.#fetch(null));
  }

  async #fetch(afterMs: number | null): Promise<History | null> {
    const path = `/v1/stats${query({
      range: this.range,
      resource: [this.name],
      region: this.region,
      after_ms: afterMs,
    })}`;
    const stats = await get<StatsRange>(path, this.#stop.signal);
    clock.note(stats.end_ms);
    const series = stats.resources[this.name];
    if (!series) return null;
    return { stepMs: stats.step_ms, endMs: stats.end_ms, sinceMs: stats.since_ms, series };
  }
}
