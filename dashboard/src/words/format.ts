// Figures as people read them. Everything here is pure.

import type { Load } from "../api/types.ts";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** Stands for a figure that is not known. */
export const NONE = "–";

export function count(n: number | null | undefined): string {
  return n == null || Number.isNaN(n) ? NONE : whole.format(n);
}

/** `12,400` stays, `1,240,000` becomes `1.2M`. */
export function compact(n: number | null | undefined): string {
  if (n == null || Number.isNaN(n)) return NONE;
  return Math.abs(n) < 100_000 ? count(n) : short.format(n);
}

export function rate(perSecond: number | null | undefined): string {
  if (perSecond == null || Number.isNaN(perSecond)) return NONE;
  if (perSecond === 0) return "0/s";
  return perSecond < 10 ? `${perSecond.toFixed(1)}/s` : `${compact(Math.round(perSecond))}/s`;
}

export function percent(ratio: number | null | undefined): string {
  if (ratio == null || Number.isNaN(ratio)) return NONE;
  const value = ratio * 100;
  // What is nearly full is not full.
  if (value > 99 && value < 100) return "99%";
  return `${value > 0 && value < 1 ? "<1" : Math.round(value)}%`;
}

const UNITS: [string, number][] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
];

/** `340 ms`, `4.1 s`, `2 min 5 s`, `3 h 20 min`. */
export function duration(ms: number | null | undefined): string {
  if (ms == null || Number.isNaN(ms)) return NONE;
  if (ms < 0) return duration(0);
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1).replace(/\.0$/, "")} s`;
  if (ms < 59_500) return `${Math.round(ms / 1_000)} s`;

  const seconds = Math.round(ms / 1_000) * 1_000;
  for (const [i, [unit, size]] of UNITS.entries()) {
    if (seconds < size) continue;
    const [lower, lowerSize] = UNITS[i + 1] ?? ["s", 1_000];
    const rest = Math.floor((seconds % size) / lowerSize);
    return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${lower}` : ""}`;
  }
  return `${Math.round(ms / 1_000)} s`;
}

/** `a minute`, `10 s`: what stands after "a window of" or "in". */
export function window(ms: number): string {
  const names: Record<number, string> = {
    1000: "a second",
    60000: "a minute",
    3600000: "an hour",
    86400000: "a day",
  };
  return names[ms] ?? `in ${duration(ms)}`;
}

export function bytes(n: number | null | undefined): string {
  if (n == null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = n;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function load(value: Load | null | undefined): string {
  if (value == null) return NONE;
  if (typeof value === "number") return count(value);
  const parts = Object.entries(value).map(([name, n]) => `${name} ${count(n)}`);
  return parts.length ? parts.join(", ") : "0";
}

export function clockTime(ms: number): string {
  const at = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** The part of a lease id that tells it apart: all ids of a group begin alike. */
export function shortId(id: string): string {
  const text = id.slice(id.lastIndexOf(".") + 1);
  return text.replace(/^0{4,}/, "…");
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
