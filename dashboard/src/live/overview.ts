// Keeps the board up to date: one list, one series, one stream, and a slow poll of what is on the screen.

import { signal } from "@preact/signals";
import { ApiError, failureWords, get, query, resourcePath } from "../api/client.ts";
import { EventStream, type Link } from "../api/events.ts";
import type { LogEvent, Page, Resource, StatsRange } from "../api/types.ts";
import { Board } from "./board.ts";
import { clock } from "./clock.ts";
import { readCluster, readNodes } from "./cluster.ts";
import { changed } from "./ticker.ts";

const POLL_MS = 2_000;
const PAGE = 1_000;
/** More names would make a long URL; nobody sees more rows at once. */
const POLLED_MOST = 60;

/** An older node has no series: the events alone then say what happens. */
function noSeries(error: unknown): null {
  if (error instanceof ApiError && error.problem.code === "not-found") return null;
  throw error;
}

export class Overview {
  readonly board = new Board();
  readonly link = signal<Link>({ state: "connecting" });
  readonly loading = signal(true);
  readonly error = signal<string | null>(null);
  readonly unreachable = signal<string[]>([]);
  /** The names of the rows on the screen, set by the table. */
  visible: string[] = [];

  #stream: EventStream | null = null;
  #poll: ReturnType<typeof setTimeout> | undefined;
  #wanted = new Set<string>();
  #stop = new AbortController();
  /** Whether the series have been read once more after the start. */
  #settled = true;

  constructor(readonly region: string) {}

  start(): void {
    this.#stream = new EventStream({
      region: this.region || undefined,
      onEvent: (event) => this.#apply(event),
      onReread: () => void this.#read(),
      onLink: (link) => {
        this.link.value = link;
      },
    });
    void this.#stream.run();
    this.#later();
  }

  close(): void {
    this.#stream?.close();
    this.#stop.abort();
    clearTimeout(this.#poll);
  }

  #apply(event: LogEvent): void {
    const unread = this.board.apply(event);
    if (unread !== null) this.#wanted.add(unread);
    if (event.kind === "leader_changed") void readCluster().then(readNodes);
    changed();
  }

  async #read(): Promise<void> {
    try {
      const names = await this.#readList();
      await this.#readSeries(true);
      this.board.keepOnly(names);
      this.#settled = false;
      this.error.value = null;
    } catch (error) {
      if (!this.#stop.signal.aborted) this.error.value = failureWords(error);
    } finally {
      this.loading.value = false;
      changed();
    }
  }

  async #readList(): Promise<Set<string>> {
    const names = new Set<string>();
    let cursor: string | null = null;
    do {
      const path: string = `/v1/resources${query({ limit: PAGE, cursor })}`;
      const page: Page<Resource> = await get(path, this.#stop.signal);
      for (const spec of page.items) {
        this.board.upsert(spec);
        names.add(spec.name);
      }
      this.unreachable.value = page.unreachable ?? [];
      cursor = page.next_cursor;
      changed();
    } while (cursor);

    // Those of a region that did not answer are still there.
    for (const row of this.board.rows.values()) {
      if (this.unreachable.value.includes(row.placement)) names.add(row.name);
    }
    return names;
  }

  async #readSeries(first: boolean): Promise<void> {
    const path = `/v1/stats${query({ range: "1m", limit: PAGE, region: this.region })}`;
    const stats = await get<StatsRange>(path, this.#stop.signal).catch(noSeries);
    if (!stats) return;
    clock.note(stats.end_ms);
    this.board.take(stats, first);
    this.board.settleIdle(Object.keys(stats.index), Object.keys(stats.resources).length < PAGE);
  }

  #later(): void {
    if (this.#stop.signal.aborted) return;
    this.#poll = setTimeout(() => void this.#refresh().finally(() => this.#later()), POLL_MS);
  }

  /** At most one request for figures in two seconds, and none while the page is hidden or the stream is down. */
  async #refresh(): Promise<void> {
    if (document.hidden || this.link.value.state !== "live" || this.loading.value) return;
    // What could not be read at the start is tried again.
    if (this.error.value) return this.#read();
    try {
      await this.#readWanted();
      if (!this.#settled) {
        // The second in which the stream began was half over when the series were read.
        this.#settled = true;
        await this.#readSeries(true);
        return changed();
      }
      const names = this.visible.slice(0, POLLED_MOST);
      if (names.length === 0) return;
      const path = `/v1/stats${query({
        range: "1m",
        resource: names,
        region: this.region,
        // Two buckets are enough: only the newest figures are wanted.
        after_ms: Math.round(clock.now()) - 3_000,
      })}`;
      const stats = await get<StatsRange>(path, this.#stop.signal);
      this.board.take(stats, false);
      changed();
    } catch {
      // The next round tries again; a node that is gone shows in the stream.
    }
  }

  /** Reads the limits of resources that have come or changed. Many at once are read as a list. */
  async #readWanted(): Promise<void> {
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    if (wanted.length > 5) {
      await this.#readList();
      return;
    }
    for (const name of wanted) await this.readOne(name);
  }

  async readOne(name: string): Promise<void> {
    try {
      this.board.upsert(await get<Resource>(resourcePath(name), this.#stop.signal));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.board.remove(name);
    }
    changed();
  }
}
