// Limits in words, and what a change of them would do. Everything here is pure.

import type { Limit, LimitStats, Resource, ResourceStats } from "../api/types.ts";
import { count, duration, plural, window } from "./format.ts";

/** `90,000 a minute, bursts of 30,000`, `20 at once`. */
export function limitWords(limit: Limit): string {
  if (limit.kind === "concurrency") return `${count(limit.quota)} at once`;
  const base = `${count(limit.quota)} ${window(limit.window_ms ?? 1_000)}`;
  if (limit.algorithm !== "token_bucket") return base;
  return `${base}, bursts of ${count(limit.burst ?? limit.quota)}`;
}

/** What an acquire costs of a limit, in words. */
export function costWords(limit: Limit): string {
  const cost = limit.cost ?? (limit.kind === "rate" ? "load" : "one");
  if (cost === "one") return "each call counts one";
  return cost === "load" ? "each call counts its load" : `each call counts the ${cost} of its load`;
}

export interface LimitDraft {
  quota: string;
  window_ms: string;
  burst: string;
}

export function draftOf(limit: Limit): LimitDraft {
  return {
    quota: String(limit.quota),
    window_ms: limit.window_ms == null ? "" : String(limit.window_ms),
    burst: limit.burst == null ? "" : String(limit.burst),
  };
}

/** A whole number from 1 to 2^53, or null. */
export function amount(text: string): number | null {
  const plain = text.replace(/[\s,_]/g, "");
  // As a BigInt: numbers above 2^53 are rounded before they can be compared.
  if (!/^\d{1,16}$/.test(plain) || BigInt(plain) > 2n ** 53n) return null;
  return Number(plain) || null;
}

type LimitPatch = { quota?: number; window_ms?: number; burst?: number | null };

export interface Change {
  patch: { limits: Record<string, LimitPatch> };
  lines: string[];
  errors: Record<string, string>;
}

function patchOf(limit: Limit, draft: LimitDraft): LimitPatch | string {
  const patch: LimitPatch = {};
  const quota = amount(draft.quota);
  if (quota === null) return "The quota is a whole number from 1.";
  if (quota !== limit.quota) patch.quota = quota;
  if (limit.kind === "concurrency") return patch;

  const windowMs = amount(draft.window_ms);
  if (windowMs === null) return "The window is a whole number of milliseconds from 1.";
  if (windowMs !== limit.window_ms) patch.window_ms = windowMs;

  if (limit.algorithm === "token_bucket") {
    const burst = draft.burst.trim() === "" ? null : amount(draft.burst);
    if (burst === null && draft.burst.trim() !== "") return "The burst is a whole number from 1, or empty.";
    if (burst !== (limit.burst ?? null)) patch.burst = burst;
  }
  return patch;
}

function effect(name: string, next: Limit, now: LimitStats | undefined, stats: ResourceStats | null): string {
  if (!now) return "";
  const most = next.algorithm === "token_bucket" ? (next.burst ?? next.quota) : next.quota;
  const free = most - now.used;
  if (free < 0) {
    const how = next.kind === "concurrency" ? "released" : "worn off";
    return ` ${count(now.used)} are used: nothing is granted until ${count(-free + 1)} are ${how}.`;
  }
  const need = stats?.head?.needs[name];
  const room = ` ${count(now.used)} are used, so ${free === 0 ? "none" : count(free)} would be free`;
  if (need === undefined) return `${room}.`;
  return `${room}; the head needs ${count(need)} and ${need <= free ? "would fit" : "would still wait"}.`;
}

/** What the drafts change: the patch, what it does in words, and what is wrong with them. */
export function preview(
  resource: Resource,
  drafts: Record<string, LimitDraft>,
  stats: ResourceStats | null,
): Change {
  const change: Change = { patch: { limits: {} }, lines: [], errors: {} };

  for (const [name, limit] of Object.entries(resource.limits)) {
    const draft = drafts[name];
    if (!draft) continue;
    const patch = patchOf(limit, draft);
    if (typeof patch === "string") {
      change.errors[name] = patch;
      continue;
    }
    if (Object.keys(patch).length === 0) continue;

    const next: Limit = { ...limit, ...patch };
    change.patch.limits[name] = patch;
    let line = `${name}: ${limitWords(limit)} → ${limitWords(next)}.${effect(name, next, stats?.limits[name], stats)}`;
    if (patch.window_ms !== undefined) line += " Another window forgives what it no longer counts.";
    change.lines.push(line);
  }
  return change;
}

/** One line for a queue's settings. */
export function queueWords(resource: Resource): string {
  if (resource.queue.max_wait_ms === 0 || resource.queue.max_waiting === 0)
    return "Nobody waits: what does not fit is refused.";
  return `Up to ${plural(resource.queue.max_waiting, "lease")} wait, each for at most ${duration(resource.queue.max_wait_ms)}.`;
}
