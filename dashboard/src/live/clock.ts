// The node's clock, as this page can tell: its own, moved by what the newest event or series said.

/** Follows the clock of the node that serves the page. Events come late, never early, so the largest lead counts. */
export class NodeClock {
  #offset = 0;
  #known = false;

  constructor(private readonly local: () => number = Date.now) {}

  note(atMs: number): void {
    const offset = atMs - this.local();
    if (!this.#known || offset > this.#offset) this.#offset = offset;
    // Where the node's clock was set back, or another node answers, the lead is taken back slowly.
    else if (this.#offset - offset > 5_000) this.#offset = offset;
    this.#known = true;
  }

  now(): number {
    return this.local() + this.#offset;
  }
}

export const clock = new NodeClock();
