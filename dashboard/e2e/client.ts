// What workers do, in as few words as the tests need.

import type { Load } from "../src/api/types.ts";
import { until } from "./node.ts";

export interface Held {
  id: string;
  state: string;
}

async function send(url: string, method: string, body: unknown): Promise<Response> {
  return fetch(url, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

export class Worker {
  constructor(readonly url: string) {}

  #resource(name: string, rest = ""): string {
    return `${this.url}/v1/resources/${encodeURIComponent(name)}${rest}`;
  }

  /** Creates or replaces. A node that has just started does not know yet that all members can follow newer names. */
  async put(
    name: string,
    limits: Record<string, unknown>,
    more: Record<string, unknown> = {},
  ): Promise<void> {
    await until(async () => {
      const answer = await send(this.#resource(name), "PUT", { limits, ...more });
      if (!answer.ok && answer.status !== 503) throw new Error(await answer.text());
      return answer.ok;
    });
  }

  /** Acquires, and comes back at once with a place in the queue when it does not fit. */
  async acquire(
    name: string,
    more: { load?: Load; priority?: number; metadata?: Record<string, string> } = {},
  ): Promise<Held> {
    const answer = await send(this.#resource(name, "/acquire"), "POST", {
      wait_ms: 60_000,
      hold_ms: 0,
      ...more,
    });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()) as Held;
  }

  async release(id: string): Promise<void> {
    await send(`${this.url}/v1/leases/${encodeURIComponent(id)}/release`, "POST", {});
  }
}

export const slots = (quota: number) => ({ slots: { kind: "concurrency", quota } });
export const perMinute = (name: string, quota: number, cost = "load") => ({
  [name]: { kind: "rate", quota, window_ms: 60_000, cost },
});
