// Why somebody waits, in words. Everything here is pure.

import type { Head, Lease, Limit, LimitStats, ResourceStats } from "../api/types.ts";
import { count, duration, plural } from "./format.ts";

/** A piece of a sentence; `code` is a name of the user's. */
export type Piece = string | { code: string };
export type Sentence = Piece[];

const code = (text: string): Piece => ({ code: text });

export function plain(sentence: Sentence): string {
  return sentence.map((piece) => (typeof piece === "string" ? piece : `\`${piece.code}\``)).join("");
}

function names(limits: string[]): Sentence {
  return limits.flatMap((name, i) => {
    const before = i === 0 ? "" : i === limits.length - 1 ? " and " : ", ";
    return before ? [before, code(name)] : [code(name)];
  });
}

/** The most that a limit admits at once. Older servers do not say it, but it follows from the limit. */
export function capacity(stats: LimitStats, limit: Limit | undefined): number {
  return (
    stats.capacity ??
    (limit?.algorithm === "token_bucket" ? (limit.burst ?? limit.quota) : limit?.quota) ??
    stats.quota
  );
}

function rateSentence(name: string, head: Head, stats: LimitStats, most: number): Sentence {
  const need = head.needs[name] ?? 0;
  const said = `: ${count(stats.used)} of ${count(most)} used, ${count(need)} needed by the head`;
  return [code(name), " is full", said];
}

function concurrencySentence(name: string, head: Head, stats: LimitStats, most: number): Sentence {
  const need = head.needs[name] ?? 1;
  const said = `: ${count(stats.used)} of ${count(most)} held`;
  return [code(name), " is full", said, need > 1 ? `, ${count(need)} needed by the head` : ""];
}

function when(head: Head, limits: Record<string, Limit>): string {
  const waitsForRelease = head.violated.some((name) => limits[name]?.kind === "concurrency");
  const alone = head.violated.length === 1;
  if (head.fits_at_release || waitsForRelease) {
    if (!alone) return "; it fits once enough is released and the rates have room";
    const need = head.needs[head.violated[0] ?? ""] ?? 1;
    return need > 1 ? "; it fits once enough is released" : "; the next release lets the head through";
  }
  if (head.fits_in_ms == null) return "";
  return head.fits_in_ms === 0 ? ", fits now" : `, fits in ${duration(head.fits_in_ms)}`;
}

/** What keeps the first in the queue from being granted. One sentence a limit; the last says when it ends. */
export function blocking(stats: ResourceStats, limits: Record<string, Limit>): Sentence[] {
  const { head } = stats;
  if (!head) return [];
  if (head.violated.length === 0) return [["Nothing is in the way of the head: it is about to be granted"]];

  const sentences = head.violated.map((name): Sentence => {
    const limit = limits[name];
    const now = stats.limits[name];
    if (!now) return [code(name), " has no room for the head"];
    const most = capacity(now, limit);
    return limit?.kind === "concurrency"
      ? concurrencySentence(name, head, now, most)
      : rateSentence(name, head, now, most);
  });
  sentences[sentences.length - 1]?.push(when(head, limits));
  return sentences;
}

/** What it means that nobody waits. */
export function idle(stats: ResourceStats, limits: Record<string, Limit>): Sentence {
  const full = Object.entries(stats.limits)
    .filter(([name, now]) => now.used >= capacity(now, limits[name]))
    .map(([name]) => name);
  if (full.length === 0) return ["Nothing blocks: the next acquire is granted at once"];
  return [
    ...names(full),
    full.length === 1 ? " is full" : " are full",
    ", and nobody waits: the next acquire will wait",
  ];
}

/** Why a waiting lease waits, as it stands in the queue. `queue` is the queue in its order, as far as it is known. */
export function whyWaiting(lease: Lease, queue: Lease[], head: Head | null | undefined): Sentence {
  const position = lease.position ?? queue.indexOf(lease) + 1;
  if (position <= 1 || lease.id === head?.id) {
    if (!head) return ["first in the queue"];
    return head.violated.length
      ? ["first: waits for ", ...names(head.violated)]
      : ["first: about to be granted"];
  }
  const ahead = queue.slice(0, position - 1);
  const higher = ahead.filter((other) => (other.priority ?? 5) < (lease.priority ?? 5)).length;
  if (higher === 0)
    return position === 2 ? ["behind the head"] : [`behind ${count(position - 1)} that came earlier`];

  // Only when the queue is known up to this lease.
  const earlier = position - 1 - higher;
  const said = `behind ${plural(higher, "lease")} of a higher priority`;
  return earlier > 0 ? [`${said} and ${count(earlier)} that came earlier`] : [said];
}
