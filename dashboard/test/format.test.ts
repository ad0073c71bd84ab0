import { describe, expect, test } from "vitest";
import {
  bytes,
  compact,
  count,
  duration,
  load,
  percent,
  rate,
  shortId,
  window,
} from "../src/words/format.ts";

describe("figures", () => {
  test("what is not known is a dash", () => {
    for (const format of [count, compact, rate, percent, duration]) expect(format(null)).toBe("–");
    expect(load(undefined)).toBe("–");
  });

  test("counts", () => {
    expect(count(90_000)).toBe("90,000");
    expect(compact(99_999)).toBe("99,999");
    expect(compact(1_240_000)).toBe("1.2M");
  });

  test("rates", () => {
    expect(rate(0)).toBe("0/s");
    expect(rate(0.44)).toBe("0.4/s");
    expect(rate(1234.4)).toBe("1,234/s");
  });

  test("what is nearly full is not full, and a little is not nothing", () => {
    expect(percent(0.998)).toBe("99%");
    expect(percent(1)).toBe("100%");
    expect(percent(0.004)).toBe("<1%");
    expect(percent(0)).toBe("0%");
    expect(percent(1.3)).toBe("130%");
  });

  test.each([
    [0, "0 ms"],
    [340, "340 ms"],
    [4_100, "4.1 s"],
    [4_000, "4 s"],
    [9_960, "10 s"],
    [59_499, "59 s"],
    [59_900, "1 min"],
    [125_000, "2 min 5 s"],
    [3_600_000, "1 h"],
    [12_000_000, "3 h 20 min"],
    [93_400_000, "1 d 1 h"],
  ])("duration of %d ms", (ms, said) => {
    expect(duration(ms)).toBe(said);
  });

  test("windows, sizes, loads, ids", () => {
    expect(window(60_000)).toBe("a minute");
    expect(window(10_000)).toBe("in 10 s");
    expect(bytes(48_211_331)).toBe("46.0 MiB");
    expect(load({ input: 1200, output: 800 })).toBe("input 1,200, output 800");
    expect(shortId("local.00000000000005zx9are")).toBe("…5zx9are");
  });
});
