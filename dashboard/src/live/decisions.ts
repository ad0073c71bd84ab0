import type { LogEvent } from "../api/types.ts";

/** The newest decisions about a resource, bounded. */
export class Decisions {
  #events: LogEvent[] = [];
  /** All since the page was opened. */
  count = 0;

  constructor(private readonly most = 200) {}

  add(event: LogEvent): void {
    this.count += 1;
    this.#events.push(event);
    // Cut in pieces: one at a time would move all of them each time.
    if (this.#events.length > this.most * 2) this.#events = this.#events.slice(-this.most);
  }

  /** The newest first. */
  newest(n: number): LogEvent[] {
    return this.#events.slice(-n).reverse();
  }
}
