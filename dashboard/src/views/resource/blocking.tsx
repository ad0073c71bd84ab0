// The answer to the question that everybody asks: why is my call waiting?

import type { Resource, ResourceStats } from "../../api/types.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { tick } from "../../live/ticker.ts";
import { Words } from "../../ui/parts.tsx";
import { blocking, idle } from "../../words/blocks.ts";
import { compact, duration } from "../../words/format.ts";

interface Props {
  model: ResourceModel;
  resource: Resource;
}

function title(stats: ResourceStats): string {
  if (stats.head) return "What blocks right now";
  return stats.queue_depth > 0 ? "Callers wait" : "Nobody waits";
}

export function Blocking({ model, resource }: Props) {
  tick.value; // What is left of a time runs on between two readings.
  const snapshot = model.snapshot.value;
  if (!snapshot) return <section class="card blocking" aria-label="What blocks right now" />;

  const passed = Date.now() - snapshot.readAt;
  const { head } = snapshot.stats;
  const later = head
    ? { ...head, fits_in_ms: head.fits_in_ms == null ? null : Math.max(0, head.fits_in_ms - passed) }
    : head;
  const stats = { ...snapshot.stats, head: later ?? null };
  const sentences = blocking(stats, resource.limits);
  return (
    <section class={`card blocking ${head ? "waits" : "clear"}`} aria-label="What blocks right now">
      <h2>{title(stats)}</h2>
      <div class="sentences" data-testid="blocks">
        {head
          ? sentences.map((sentence, i) => (
              <p key={i}>
                <Words of={sentence} />.
              </p>
            ))
          : stats.queue_depth === 0 && (
              <p>
                <Words of={idle(stats, resource.limits)} />.
              </p>
            )}
        {!head && stats.queue_depth > 0 && <p>Callers wait; this node does not say what for.</p>}
      </div>
      <dl class="figures">
        <div>
          <dt>Waiting</dt>
          <dd data-figure="depth">{compact(stats.queue_depth)}</dd>
        </div>
        <div>
          <dt>Their load</dt>
          <dd>{compact(stats.queue_load)}</dd>
        </div>
        <div>
          <dt>Oldest waits</dt>
          <dd>{stats.queue_depth > 0 ? duration(stats.oldest_wait_ms + passed) : "–"}</dd>
        </div>
        <div>
          <dt>Held</dt>
          <dd data-figure="held">{compact(stats.held)}</dd>
        </div>
      </dl>
    </section>
  );
}
