import { expect, test } from "vitest";
import { binEnds, binSize, bins } from "../src/live/bins.ts";

test("bins are cut at the same seconds, whatever the first of them is", () => {
  expect(bins([1, 2, 3, 4, 5, 6], 3, 0, "mean")).toEqual([2, 5]);
  expect(bins([2, 3, 4, 5, 6, 7], 3, 1, "mean")).toEqual([2.5, 5, 7]);
  expect(binEnds(6, 3, 1, 1_000)).toEqual([3, 6, 7]);
});

test("what is not known stays so, and is no zero", () => {
  expect(bins([null, null, null, null, 8, null], 3, 0, "most")).toEqual([null, 8]);
  expect(bins([1, null], 2, 0, "last")).toEqual([1]);
});

test("a short range keeps every second", () => {
  expect(binSize(60)).toBe(1);
  expect(binSize(900)).toBe(5);
});
