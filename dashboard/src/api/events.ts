// The event stream: read by fetch, since an EventSource can send no Authorization header.

import { createParser, type EventSourceMessage } from "eventsource-parser";
import { Backoff } from "./backoff.ts";
import { ApiError, failureWords, headers, keyVersion, query, refuse } from "./client.ts";
import type { LogEvent } from "./types.ts";

export type Link =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "lost"; since: number; why: string; retryAt: number };

export interface StreamOptions {
  resources?: string[];
  region?: string | undefined;
  onEvent: (event: LogEvent) => void;
  /** What was derived from earlier events no longer holds: read it again. Also at the first start. */
  onReread: (why: "start" | "gap" | "lagged") => void;
  onLink: (link: Link) => void;
}

/** The server comments every 15 s. A stream that is silent for longer than two of them is dead. */
const SILENCE_MS = 35_000;

/** Who is too slow does not get faster by coming back at once. */
const LAGGED_PAUSE_MS = 1_000;

interface Host {
  fetch: typeof fetch;
  pause: (ms: number, signal: AbortSignal) => Promise<void>;
  backoff: Backoff;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    signal.addEventListener("abort", done, { once: true });
  });
}

export class EventStream {
  #stop = new AbortController();
  #lastId = "";
  #lagged = false;
  #restart: "start" | "lagged" = "start";
  #lostSince: number | null = null;
  #wake: (() => void) | null = null;

  constructor(
    private readonly options: StreamOptions,
    private readonly host: Host = { fetch: (...args) => fetch(...args), pause, backoff: new Backoff() },
  ) {}

  /** Runs until it is closed. */
  async run(): Promise<void> {
    const { onLink } = this.options;
    onLink({ state: "connecting" });
    // A new key is worth a new attempt at once.
    const unsubscribe = keyVersion.subscribe(() => this.#wake?.());

    while (!this.#stop.signal.aborted) {
      const why = await this.#connect().catch((error: unknown) => this.#failed(error));
      if (this.#stop.signal.aborted) break;
      if (this.#lagged) {
        await this.#pauseOrWake(LAGGED_PAUSE_MS);
        continue;
      }
      this.#lostSince ??= Date.now();
      const ms = this.host.backoff.next();
      onLink({ state: "lost", since: this.#lostSince, why, retryAt: Date.now() + ms });
      await this.#pauseOrWake(ms);
    }
    unsubscribe();
  }

  close(): void {
    this.#stop.abort();
  }

  #failed(error: unknown): string {
    // The resume point may be one that this server does not understand.
    if (error instanceof ApiError && error.status === 400 && this.#lastId) this.#lastId = "";
    return failureWords(error);
  }

  async #pauseOrWake(ms: number): Promise<void> {
    const early = new AbortController();
    const end = () => early.abort();
    this.#wake = end;
    this.#stop.signal.addEventListener("abort", end, { once: true });
    await this.host.pause(ms, early.signal);
    this.#stop.signal.removeEventListener("abort", end);
    this.#wake = null;
  }

  /** One connection, until it ends. Answers why. */
  async #connect(): Promise<string> {
    const attempt = new AbortController();
    const end = () => attempt.abort();
    this.#stop.signal.addEventListener("abort", end, { once: true });
    let watch = setTimeout(end, SILENCE_MS);
    try {
      const response = await this.#open(attempt.signal);
      if (!response.ok || !response.body) return await refuse(response);
      this.#opened();

      const parser = createParser({ onEvent: (message) => this.#message(message) });
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      while (!this.#lagged) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(watch);
        watch = setTimeout(end, SILENCE_MS);
        parser.feed(decoder.decode(value, { stream: true }));
      }
      return "The node closed the stream.";
    } finally {
      clearTimeout(watch);
      this.#stop.signal.removeEventListener("abort", end);
      attempt.abort();
    }
  }

  #open(signal: AbortSignal): Promise<Response> {
    const { resources, region } = this.options;
    const more: Record<string, string> = { Accept: "text/event-stream" };
    if (this.#lastId) more["Last-Event-ID"] = this.#lastId;
    const path = `/v1/events${query({ resource: resources ?? "", region })}`;
    return this.host.fetch(path, { headers: headers(more), cache: "no-store", signal });
  }

  #opened(): void {
    this.host.backoff.reset();
    this.#lostSince = null;
    this.#restart = this.#lagged ? "lagged" : "start";
    this.#lagged = false;
    this.options.onLink({ state: "live" });
  }

  #message(message: EventSourceMessage): void {
    if (this.#lagged) return;
    if (message.event === "lagged") {
      // The server closes the stream; the next one starts from now.
      this.#lagged = true;
      this.#lastId = "";
      return;
    }
    if (message.id) this.#lastId = message.id;
    if (message.event === "ready") {
      // From here on nothing is missed, so what is read now and what follows join without a seam.
      this.options.onReread(this.#restart);
      return;
    }
    if (message.event === "gap") {
      this.options.onReread("gap");
      return;
    }
    const event = parse(message.data);
    if (event) this.options.onEvent(event);
  }
}

/** An event, or null for a line that is none: a newer server may say more than this page knows. */
export function parse(data: string): LogEvent | null {
  try {
    const event = JSON.parse(data) as LogEvent;
    return typeof event.kind === "string" ? event : null;
  } catch {
    return null;
  }
}
