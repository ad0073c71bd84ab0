/**
 * The last `size` seconds of two figures of a resource: how many waited at the end of each second, and how
 * many were granted in it. Seconds without an event cost nothing: they are filled in when somebody looks.
 */
export class Ring {
  readonly depth: Float32Array;
  readonly granted: Float32Array;
  /** The newest second that is filled in; seconds before the first are not known. */
  #last = Number.NaN;
  #first = Number.NaN;

  constructor(readonly size = 60) {
    this.depth = new Float32Array(size);
    this.granted = new Float32Array(size);
  }

  get last(): number {
    return this.#last;
  }

  /** Fills in the seconds up to `second`: the depth stays as it was, nothing is granted. */
  advance(second: number): void {
    if (Number.isNaN(this.#last)) {
      this.#first = second;
      this.#last = second;
      this.depth[second % this.size] = 0;
      this.granted[second % this.size] = 0;
      return;
    }
    const depth = this.depth[this.#last % this.size] ?? 0;
    // After a long silence once around is enough.
    for (let at = Math.max(this.#last + 1, second - this.size + 1); at <= second; at++) {
      this.depth[at % this.size] = depth;
      this.granted[at % this.size] = 0;
    }
    if (second > this.#last) this.#last = second;
  }

  /** Counts an event of a second. One that is older than the ring is left out. */
  record(second: number, depth: number, granted: number): void {
    if (!Number.isNaN(this.#last) && second <= this.#last - this.size) return;
    this.advance(second);
    if (second < this.#first) this.#first = second;
    this.granted[second % this.size] = (this.granted[second % this.size] ?? 0) + granted;
    // An event that comes late in the order of seconds does not change what was so later.
    if (second === this.#last) this.depth[second % this.size] = depth;
  }

  /** Takes over seconds from the server's series, which is right where the two differ. */
  fill(endSecond: number, depths: readonly (number | null)[], granted: readonly (number | null)[]): void {
    this.advance(Math.max(endSecond, Number.isNaN(this.#last) ? endSecond : this.#last));
    const count = Math.min(depths.length, this.size);
    for (let back = 0; back < count; back++) {
      const second = endSecond - back;
      if (second <= this.#last - this.size) break;
      const depth = depths[depths.length - 1 - back];
      if (depth == null) continue;
      this.depth[second % this.size] = depth;
      this.granted[second % this.size] = granted[granted.length - 1 - back] ?? 0;
      if (second < this.#first) this.#first = second;
    }
  }

  /** Granted a second, over the `seconds` whole seconds before `now`. */
  rate(now: number, seconds = 10): number {
    if (Number.isNaN(this.#last)) return 0;
    let sum = 0;
    for (let second = now - seconds; second < now; second++) sum += this.#at(this.granted, second) ?? 0;
    return sum / seconds;
  }

  /** Copies a figure's seconds up to `now`, oldest first, into `to`; those that are not known are NaN. */
  copy(figure: "depth" | "granted", now: number, to: Float32Array): void {
    const from = this[figure];
    for (let i = 0; i < to.length; i++) {
      to[i] = this.#at(from, now - to.length + 1 + i, figure === "depth") ?? Number.NaN;
    }
  }

  #at(from: Float32Array, second: number, carries = false): number | undefined {
    if (Number.isNaN(this.#last) || second < this.#first || second <= this.#last - this.size)
      return undefined;
    if (second > this.#last) return carries ? from[this.#last % this.size] : 0;
    return from[second % this.size];
  }
}
