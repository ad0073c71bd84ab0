import type { Load, Resource } from "../../api/types.ts";
import { Code } from "../../ui/parts.tsx";
import { curlAcquire, python } from "../../words/snippets.ts";

/** A load that the resource takes: a number for each dimension that a limit counts, or one. */
export function exampleLoad(resource: Pick<Resource, "limits">): Load {
  const limits = Object.values(resource.limits);
  const dimensions = limits
    .map((limit) => limit.cost)
    .filter((cost) => cost && cost !== "one" && cost !== "load");
  if (dimensions.length > 0) return Object.fromEntries(dimensions.map((name) => [name, 100]));
  const weighed = limits.filter((limit) => limit.kind === "rate" && (limit.cost ?? "load") === "load");
  // The load of a call stands for something, such as tokens, where a limit counts many of it.
  const many = weighed.length > 0 && weighed.every((limit) => (limit.burst ?? limit.quota) >= 10_000);
  return many ? 2_000 : 1;
}

export function UseIt({ resource }: { resource: Resource }) {
  const load = exampleLoad(resource);
  const waitMs = Math.min(30_000, resource.queue.max_wait_ms);
  return (
    <section class="card list" aria-label="Use it">
      <h2>Use it</h2>
      <Code label="Python" text={python(location.origin, resource.name, load, waitMs / 1_000)} />
      <Code label="curl" text={curlAcquire(location.origin, resource.name, load, waitMs)} />
    </section>
  );
}
