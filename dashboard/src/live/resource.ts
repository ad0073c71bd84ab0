// What the page of a resource knows: its limits, who waits and holds, and what was decided while the page is open.

import { batch, signal } from "@preact/signals";
import {
  ApiError,
  call,
  failureWords,
  get,
  idempotencyKey,
  leasePath,
  query,
  resourcePath,
} from "../api/client.ts";
import { EventStream, type Link } from "../api/events.ts";
import type { Lease, LogEvent, Page, Resource, ResourceStats } from "../api/types.ts";
import { clock } from "./clock.ts";
import { cluster } from "./cluster.ts";
import { Decisions } from "./decisions.ts";
import { Seen } from "./seen.ts";
import { changed } from "./ticker.ts";

const PAGE = 100;
/** The most that one page of a list has. */
export const LISTED_MOST = 1_000;
/** How long after a change the lists are read again, at the soonest. */
const AFTER_EVENT_MS = 700;
/** How often while somebody waits: rates get room without an event. */
const WHILE_WAITING_MS = 2_000;
const WHILE_IDLE_MS = 10_000;
const RETRY_MS = 2_000;

export interface Snapshot {
  stats: ResourceStats;
  waiting: Page<Lease>;
  held: Page<Lease>;
  /** When it was read, by this page's clock: what is left of a time is reckoned from then. */
  readAt: number;
}

export class ResourceModel {
  readonly resource = signal<Resource | null>(null);
  readonly snapshot = signal<Snapshot | null>(null);
  readonly link = signal<Link>({ state: "connecting" });
  readonly error = signal<{ text: string; missing: boolean } | null>(null);
  readonly decisions = new Decisions();
  readonly seen = new Seen();
  /** How many of each list are read; "show more" raises it. */
  readonly limits = { waiting: PAGE, held: PAGE };

  #stream: EventStream | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #readAt = 0;
  #reading = false;
  #stale = false;
  #stop = new AbortController();

  constructor(readonly name: string) {}

  async start(): Promise<void> {
    await this.readResource();
    if (this.#stop.signal.aborted || this.error.value?.missing) return;
    if (!this.resource.value) {
      // Where it lives is not known yet, so neither is what to ask for.
      this.#timer = setTimeout(() => void this.start(), RETRY_MS);
      return;
    }
    this.#open();
    this.#schedule(WHILE_IDLE_MS);
  }

  close(): void {
    this.#stream?.close();
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  /** The region to ask for, when the node that serves the page does not hold the resource itself. */
  get region(): string | undefined {
    const placement = this.resource.value?.placement;
    const groups = cluster.value?.groups;
    return placement && groups && !(placement in groups) ? placement : undefined;
  }

  #open(): void {
    this.#stream = new EventStream({
      resources: [this.name],
      region: this.region,
      onEvent: (event) => this.#apply(event),
      onReread: () => this.#soon(0),
      onLink: (link) => {
        this.link.value = link;
      },
    });
    void this.#stream.run();
  }

  #apply(event: LogEvent): void {
    clock.note(event.at_ms);
    this.decisions.add(event);
    this.seen.note(event);
    if (event.kind === "limit_changed") void this.readResource();
    if (event.kind === "deleted") {
      this.error.value = { text: "The resource was deleted.", missing: true };
      this.close();
      return;
    }
    this.#soon(AFTER_EVENT_MS);
    changed();
  }

  /** Reads again within so many ms, unless that is coming anyway. */
  #soon(ms: number): void {
    const earliest = Math.max(0, this.#readAt + AFTER_EVENT_MS - Date.now());
    if (this.#reading) this.#stale = true;
    else if (!this.#stale || ms === 0) {
      this.#stale = true;
      this.#schedule(Math.max(ms === 0 ? 0 : earliest, 0));
    }
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#round(), ms);
  }

  async #round(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    if (!document.hidden) await this.read();
    const waits = (this.snapshot.value?.stats.queue_depth ?? 0) > 0;
    const next = this.#stale ? AFTER_EVENT_MS : waits ? WHILE_WAITING_MS : WHILE_IDLE_MS;
    if (!this.#stop.signal.aborted) this.#schedule(next);
  }

  async readResource(): Promise<void> {
    try {
      this.resource.value = await get<Resource>(resourcePath(this.name), this.#stop.signal);
      this.error.value = null;
    } catch (error) {
      this.#fail(error);
    }
  }

  #list(state: "waiting" | "held"): Promise<Page<Lease>> {
    const path = resourcePath(
      this.name,
      `/leases${query({ state, limit: Math.min(LISTED_MOST, this.limits[state]) })}`,
    );
    return get<Page<Lease>>(path, this.#stop.signal);
  }

  async read(): Promise<void> {
    this.#reading = true;
    this.#stale = false;
    this.#readAt = Date.now();
    try {
      const stats = get<ResourceStats>(resourcePath(this.name, "/stats"), this.#stop.signal);
      const [now, waiting, held] = await Promise.all([stats, this.#list("waiting"), this.#list("held")]);
      this.seen.keep(waiting.items, held.items);
      batch(() => {
        this.snapshot.value = { stats: now, waiting, held, readAt: Date.now() };
        this.error.value = null;
      });
      changed();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#reading = false;
    }
  }

  #fail(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    const missing = error instanceof ApiError && error.problem.code === "resource-not-found";
    // A node that is gone for a moment shows in the banner; what was read stays.
    if (missing || this.snapshot.value === null) this.error.value = { text: failureWords(error), missing };
  }

  more(state: "waiting" | "held"): void {
    this.limits[state] = Math.min(LISTED_MOST, this.limits[state] + 200);
    this.#soon(0);
  }

  /** Changes limits in place. Answers the log index at which that took effect. */
  async patch(body: unknown, version: number): Promise<{ index: string | null; version: number }> {
    const answer = await call<Resource>(resourcePath(this.name), {
      method: "PATCH",
      body,
      headers: { "If-Match": `"${version}"`, "Idempotency-Key": idempotencyKey() },
    });
    this.resource.value = answer.body;
    this.#soon(0);
    return { index: answer.logIndex ?? String(answer.body.effective_index), version: answer.body.version };
  }

  /** Gives up a waiting lease, or takes a held one back. */
  async end(lease: Lease): Promise<void> {
    await call(leasePath(lease.id, "/release"), { method: "POST", body: {} });
    this.#soon(0);
  }
}
