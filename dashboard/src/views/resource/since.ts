import type { Head, Lease } from "../../api/types.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { duration } from "../../words/format.ts";

/** For how long a lease waits or holds: whole seconds, `over` where only the least is known. */
export function ageWords(
  lease: Lease,
  head: Head | null | undefined,
  model: ResourceModel,
  now: number,
): string {
  const readAt = model.snapshot.value?.readAt ?? Date.now();
  if (head && head.id === lease.id) return seconds(head.waited_ms + Date.now() - readAt);
  const since = model.seen.of(lease);
  if (!since) return "–";
  return since.exact ? seconds(now - since.atMs) : `over ${seconds(now - since.atMs)}`;
}

function seconds(ms: number): string {
  return duration(Math.max(0, Math.floor(ms / 1_000)) * 1_000).replace(/^0 ms$/, "0 s");
}
