import { expect, test } from "vitest";
import { Ring } from "../src/live/ring.ts";

const depths = (ring: Ring, now: number, n = 5) => {
  const to = new Float32Array(n);
  ring.copy("depth", now, to);
  return [...to];
};

test("seconds without an event keep the depth and count nothing", () => {
  const ring = new Ring(10);
  ring.record(100, 3, 1);
  ring.record(103, 5, 1);
  expect(depths(ring, 104)).toEqual([3, 3, 3, 5, 5]);
  expect(ring.rate(104, 4)).toBe(0.5);
});

test("what was before the first event is not known", () => {
  const ring = new Ring(10);
  ring.record(100, 3, 1);
  expect(depths(ring, 101)).toEqual([Number.NaN, Number.NaN, Number.NaN, 3, 3]);
});

test("a long silence leaves nothing of the old", () => {
  const ring = new Ring(5);
  for (let second = 100; second < 105; second++) ring.record(second, second, 9);
  ring.record(1_000, 7, 1);
  expect(depths(ring, 1_000)).toEqual([104, 104, 104, 104, 7]);
  expect(ring.rate(1_001, 5)).toBeCloseTo(0.2);
});

test("events of one second add up; the last says the depth", () => {
  const ring = new Ring(10);
  for (let i = 1; i <= 4; i++) ring.record(100, i, 1);
  expect(ring.rate(101, 1)).toBe(4);
  expect(depths(ring, 100, 1)).toEqual([4]);
});

test("a late event counts where it belongs, and one that is too late nowhere", () => {
  const ring = new Ring(5);
  ring.record(100, 1, 1);
  ring.record(102, 2, 0);
  ring.record(101, 9, 1);
  ring.record(90, 9, 50);
  expect(ring.rate(103, 3)).toBeCloseTo(2 / 3);
  expect(depths(ring, 102, 1)).toEqual([2]);
});

test("series of the server fill the past, and nulls stay unknown", () => {
  const ring = new Ring(5);
  ring.fill(104, [null, null, 1, 2, 3], [null, null, 4, 5, 6]);
  expect(depths(ring, 104)).toEqual([Number.NaN, Number.NaN, 1, 2, 3]);
  expect(ring.rate(105, 3)).toBe(5);
});
