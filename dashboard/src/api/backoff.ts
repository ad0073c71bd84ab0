/** Pauses that grow up to a bound and are spread by chance, so that many pages do not come back at once. */
export class Backoff {
  #attempt = 0;

  constructor(
    private readonly first = 500,
    private readonly most = 15_000,
    private readonly random: () => number = Math.random,
  ) {}

  reset(): void {
    this.#attempt = 0;
  }

  /** The next pause in ms: between half of the bound and all of it. */
  next(): number {
    const bound = Math.min(this.most, this.first * 2 ** this.#attempt);
    this.#attempt += 1;
    return bound / 2 + (bound / 2) * this.random();
  }
}
