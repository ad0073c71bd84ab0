// Since when a lease waits or holds. A list of leases does not say it, so it comes from the events that this page has
// seen; of a lease that was there before, only the least is known.

import type { Lease, LogEvent } from "../api/types.ts";
import { clock } from "./clock.ts";

export interface Since {
  atMs: number;
  /** False: it was already so then, and may have been for longer. */
  exact: boolean;
}

export class Seen {
  #since = new Map<string, Since>();

  note(event: LogEvent): void {
    if (!event.id) return;
    const key = keyOf(event.id, event.kind === "granted" ? "held" : "waiting");
    if (event.kind === "queued" || event.kind === "granted") {
      this.#since.set(key, { atMs: event.at_ms, exact: true });
    } else {
      this.#since.delete(keyOf(event.id, "held"));
      this.#since.delete(keyOf(event.id, "waiting"));
    }
  }

  /** Notes what a list has, and forgets the rest so that this does not grow. */
  keep(waiting: Lease[], held: Lease[]): void {
    const now = clock.now();
    const next = new Map<string, Since>();
    for (const lease of [...waiting, ...held]) {
      const key = keyOf(lease.id, lease.state);
      const said = lease.state === "waiting" ? lease.waited_ms : undefined;
      if (said != null) next.set(key, { atMs: now - said, exact: true });
      else next.set(key, this.#since.get(key) ?? { atMs: now, exact: false });
    }
    this.#since = next;
  }

  of(lease: Lease): Since | undefined {
    return this.#since.get(keyOf(lease.id, lease.state));
  }
}

function keyOf(id: string, stage: string): string {
  return `${stage} ${id}`;
}
