import { expect, test } from "vitest";
import type { LogEvent, Resource, Series, StatsRange } from "../src/api/types.ts";
import { Board } from "../src/live/board.ts";
import { join } from "../src/live/history.ts";
import { arrange } from "../src/live/order.ts";
import { parseRoute, resourceHref } from "../src/router.ts";
import { rangeOf } from "../src/ui/virtual.ts";

const NOW = 1_764_550_000_000;
const spec = (name: string, placement = "eu") => ({ name, placement, limits: {} }) as Resource;

function event(resource: string, more: Partial<LogEvent>): LogEvent {
  return {
    kind: "granted",
    group: "eu",
    log_index: 1,
    ordinal: 0,
    at_ms: NOW,
    resource,
    queue_depth: 0,
    held: 1,
    ...more,
  };
}

function stats(name: string, depth: number, endMs: number): StatsRange {
  const one = [depth];
  const series = {
    queue_depth: one,
    held: [1],
    granted: [2],
    utilization: { tpm: [0.5], rpm: [0.9] },
  } as unknown as Series;
  return {
    step_ms: 1000,
    end_ms: endMs,
    since_ms: 0,
    index: { eu: 1 },
    resources: { [name]: series },
    total: series,
  };
}

test("the depth is that of the newest, event or series", () => {
  const board = new Board();
  const row = board.upsert(spec("a"));
  board.apply(event("a", { queue_depth: 7 }));
  board.take(stats("a", 3, NOW - 500), true);
  expect(row.depth).toBe(7);
  board.take(stats("a", 4, NOW + 1_000), false);
  expect(row.depth).toBe(4);
  expect(row.utilization).toEqual({ name: "rpm", ratio: 0.9 });
});

test("an event of an unknown resource makes a row, and asks for its limits", () => {
  const board = new Board();
  expect(board.apply(event("new", {}))).toBe("new");
  expect(board.apply(event("new", {}))).toBeNull();
  expect(board.apply(event("new", { kind: "limit_changed" }))).toBe("new");
  board.apply(event("new", { kind: "deleted" }));
  expect(board.rows.size).toBe(0);
});

test("what is not followed is idle only where all are followed", () => {
  const board = new Board();
  const here = board.upsert(spec("a"));
  const there = board.upsert(spec("b", "us"));
  board.settleIdle(["eu", "global"], false);
  expect(here.depth).toBeNull();
  board.settleIdle(["eu", "global"], true);
  expect([here.depth, there.depth]).toEqual([0, null]);
});

test("the hottest are first, and filters hold", () => {
  const board = new Board();
  for (const name of ["idle", "busy", "waits", "waits-more"]) board.upsert(spec(name));
  board.apply(event("busy", {}));
  board.apply(event("waits", { queue_depth: 2 }));
  board.apply(event("waits-more", { queue_depth: 9 }));
  const names = (state: "all" | "waiting", text = "") =>
    arrange(board.rows.values(), { text, region: "", state }, "hottest", NOW + 2_000).map((row) => row.name);
  expect(names("all")).toEqual(["waits-more", "waits", "busy", "idle"]);
  expect(names("waiting")).toEqual(["waits-more", "waits"]);
  expect(names("all", "more")).toEqual(["waits-more"]);
});

test("routes take any name back as it was", () => {
  for (const name of ["a", "azure/gpt-4.1", "x[1]:y@z=~+-", "%2F?#"]) {
    expect(parseRoute(resourceHref(name))).toEqual({ view: "resource", name });
  }
  expect(parseRoute("")).toEqual({ view: "overview" });
  expect(parseRoute("#/r/%").view).toBe("unknown");
});

test("only the rows on the screen are drawn", () => {
  expect(rangeOf(0, 800, 50, 10_000, 5)).toEqual({ first: 0, end: 21 });
  expect(rangeOf(250_000, 800, 50, 10_000, 5)).toEqual({ first: 4_995, end: 5_021 });
  expect(rangeOf(-300, 800, 50, 3, 5)).toEqual({ first: 0, end: 3 });
});

test("new buckets join the old, and a hole does not", () => {
  const column = (...values: number[]) => values;
  const history = (endMs: number, values: number[], limits: Record<string, number[]>) => {
    const names = [
      "queue_depth",
      "held",
      "granted",
      "released",
      "rejected",
      "expired",
      "wait_p50_ms",
      "wait_p99_ms",
    ];
    const series = Object.fromEntries(names.map((name) => [name, column(...values)])) as unknown as Series;
    return { stepMs: 1_000, endMs, sinceMs: 0, series: { ...series, utilization: limits } };
  };
  const joined = join(
    history(3_000, [1, 2, 3], { a: [1, 2, 3] }),
    history(5_000, [4, 5], { a: [4, 5], b: [6, 7] }),
    3,
  );
  expect(joined?.series.queue_depth).toEqual([3, 4, 5]);
  expect(joined?.series.utilization).toEqual({ a: [3, 4, 5], b: [null, 6, 7] });
  expect(join(history(3_000, [1], {}), history(9_000, [4], {}), 3)).toBeNull();
});
