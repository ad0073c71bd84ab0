import { describe, expect, test } from "vitest";
import type { Head, Lease, Limit, ResourceStats } from "../src/api/types.ts";
import { blocking, idle, plain, whyWaiting } from "../src/words/blocks.ts";

const LIMITS: Record<string, Limit> = {
  tpm: { kind: "rate", quota: 90_000, window_ms: 60_000 },
  rpm: { kind: "rate", quota: 500, window_ms: 60_000, cost: "one" },
  slots: { kind: "concurrency", quota: 20 },
};

const HEAD: Head = {
  id: "eu.1",
  load: 2000,
  priority: 5,
  waited_ms: 900,
  violated: ["tpm"],
  needs: { tpm: 2000, rpm: 1, slots: 1 },
  fits_in_ms: 4100,
  fits_at_release: false,
};

function stats(head: Partial<Head> | null, used: Record<string, number> = {}): ResourceStats {
  const limits = Object.fromEntries(
    Object.entries(LIMITS).map(([name, limit]) => {
      const now = used[name] ?? 0;
      return [
        name,
        {
          quota: limit.quota,
          used: now,
          remaining: Math.max(0, limit.quota - now),
          utilization: now / limit.quota,
        },
      ];
    }),
  );
  return {
    queue_depth: head ? 1 : 0,
    queue_load: 0,
    oldest_wait_ms: 0,
    held: 0,
    limits,
    head: head ? { ...HEAD, ...head } : null,
  };
}

const said = (of: ResourceStats) => blocking(of, LIMITS).map(plain);

describe("what blocks", () => {
  test("a rate that is full", () => {
    expect(said(stats({}, { tpm: 90_000 }))).toEqual([
      "`tpm` is full: 90,000 of 90,000 used, 2,000 needed by the head, fits in 4.1 s",
    ]);
  });

  test("a rate that has some room, but too little", () => {
    expect(said(stats({}, { tpm: 89_400 }))).toEqual([
      "`tpm` is full: 89,400 of 90,000 used, 2,000 needed by the head, fits in 4.1 s",
    ]);
  });

  test("concurrency that is full", () => {
    const head = { violated: ["slots"], fits_in_ms: null, fits_at_release: true };
    expect(said(stats(head, { slots: 20 }))).toEqual([
      "`slots` is full: 20 of 20 held; the next release lets the head through",
    ]);
  });

  test("a rate and concurrency at once", () => {
    const head = { violated: ["rpm", "slots"], fits_in_ms: null, fits_at_release: true };
    expect(said(stats(head, { rpm: 500, slots: 20 }))).toEqual([
      "`rpm` is full: 500 of 500 used, 1 needed by the head",
      "`slots` is full: 20 of 20 held; it fits once enough is released and the rates have room",
    ]);
  });

  test("nothing, for a moment", () => {
    expect(said(stats({ violated: [] }))).toEqual([
      "Nothing is in the way of the head: it is about to be granted",
    ]);
  });

  test("the capacity of a token bucket is its burst", () => {
    const bucket: Record<string, Limit> = {
      tpm: { ...LIMITS.tpm, burst: 3000, algorithm: "token_bucket" } as Limit,
    };
    expect(plain(blocking(stats({}, { tpm: 3000 }), bucket)[0] ?? [])).toContain("3,000 of 3,000 used");
  });

  test("nobody waits", () => {
    expect(plain(idle(stats(null), LIMITS))).toBe("Nothing blocks: the next acquire is granted at once");
    expect(plain(idle(stats(null, { slots: 20 }), LIMITS))).toBe(
      "`slots` is full, and nobody waits: the next acquire will wait",
    );
  });
});

describe("why a lease waits", () => {
  const lease = (position: number, priority = 5): Lease => ({
    id: `eu.${position}`,
    resource: "a",
    state: "waiting",
    position,
    priority,
  });

  test("as the head", () => {
    const queue = [lease(1)];
    expect(plain(whyWaiting(queue[0] as Lease, queue, HEAD))).toBe("first: waits for `tpm`");
  });

  test("behind the head, and behind earlier ones", () => {
    const queue = [lease(1), lease(2), lease(3)];
    expect(plain(whyWaiting(queue[1] as Lease, queue, HEAD))).toBe("behind the head");
    expect(plain(whyWaiting(queue[2] as Lease, queue, HEAD))).toBe("behind 2 that came earlier");
  });

  test("behind a higher priority", () => {
    const queue = [lease(1, 0), lease(2, 0), lease(3), lease(4)];
    expect(plain(whyWaiting(queue[2] as Lease, queue, HEAD))).toBe("behind 2 leases of a higher priority");
    expect(plain(whyWaiting(queue[3] as Lease, queue, HEAD))).toBe(
      "behind 2 leases of a higher priority and 1 that came earlier",
    );
  });
});
