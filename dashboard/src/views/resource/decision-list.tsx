// What was decided while the page is open, the newest first.

import { useState } from "preact/hooks";
import type { LogEvent } from "../../api/types.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { tick } from "../../live/ticker.ts";
import { Empty } from "../../ui/parts.tsx";
import { decisionWords, toneOf } from "../../words/decisions.ts";
import { clockTime, count, shortId } from "../../words/format.ts";

const SHOWN = 40;

function Decision({ event }: { event: LogEvent }) {
  return (
    <tr>
      <td class="num muted" title={`log index ${event.log_index}`}>
        {clockTime(event.at_ms)}
      </td>
      <td>
        <span class={`tone ${toneOf(event.kind)}`}>{event.kind.replace("_", " ")}</span>
      </td>
      <td>{event.id ? <code title={event.id}>{shortId(event.id)}</code> : <span class="muted">–</span>}</td>
      <td class="break rest">{decisionWords(event)}</td>
    </tr>
  );
}

export function DecisionList({ model }: { model: ResourceModel }) {
  const [held, hold] = useState<LogEvent[] | null>(null);
  tick.value;
  const shown = held ?? model.decisions.newest(SHOWN);
  return (
    <section class="card list" aria-label="Recent decisions">
      <div class="section-head">
        <h2>Recent decisions</h2>
        <span class="muted num">{count(model.decisions.count)} since you came</span>
        <span class="grow" />
        <button
          type="button"
          class="button small quiet"
          aria-pressed={held !== null}
          onClick={() => hold(held ? null : shown)}
        >
          {held ? "Go on" : "Pause"}
        </button>
      </div>
      {shown.length === 0 ? (
        <Empty title="Nothing was decided yet">
          <p>Grants, refusals and releases appear here as they happen.</p>
        </Empty>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Decisions">
          <table class="stack">
            <thead>
              <tr>
                <th>Time</th>
                <th>Decision</th>
                <th>Lease</th>
                <th>Details</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((event) => (
                <Decision key={`${event.group}:${event.log_index}:${event.ordinal}`} event={event} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
