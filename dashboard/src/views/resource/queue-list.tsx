// The queue in its order, and why each lease in it waits.

import { useState } from "preact/hooks";
import type { Lease, Resource } from "../../api/types.ts";
import { clock } from "../../live/clock.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { tick } from "../../live/ticker.ts";
import { Confirm } from "../../ui/dialog.tsx";
import { Empty, Words } from "../../ui/parts.tsx";
import { whyWaiting } from "../../words/blocks.ts";
import { count, load, shortId } from "../../words/format.ts";
import { Metadata } from "./metadata.tsx";
import { ageWords } from "./since.ts";

interface Props {
  model: ResourceModel;
  resource: Resource;
}

export function QueueList({ model }: Props) {
  const [ending, setEnding] = useState<Lease | null>(null);
  tick.value;
  const snapshot = model.snapshot.value;
  const queue = snapshot?.waiting.items ?? [];
  const head = snapshot?.stats.head;
  const now = clock.now();
  return (
    <section class="card list" aria-label="Queue">
      <div class="section-head">
        <h2>Queue</h2>
        <span class="muted num">{count(snapshot?.stats.queue_depth)}</span>
      </div>
      {snapshot && queue.length === 0 ? (
        <Empty title="The queue is empty">
          <p>
            Callers that do not fit under the limits wait here, if they say how long (<code>wait_ms</code>).
          </p>
        </Empty>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Waiting leases">
          <table class="stack">
            <thead>
              <tr>
                <th class="right">#</th>
                <th>Lease</th>
                <th class="right">Load</th>
                <th class="right">Priority</th>
                <th class="right">Waits</th>
                <th>
                  <span class="sr">Action</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {queue.map((lease, i) => (
                <tr key={lease.id} data-lease={lease.id}>
                  <td class="right num" data-label="#">
                    {count(lease.position ?? i + 1)}
                  </td>
                  <td class="main">
                    <code title={lease.id}>{shortId(lease.id)}</code>
                    <span class="why">
                      <Words of={whyWaiting(lease, queue, head)} />
                    </span>
                    <Metadata of={lease.metadata} />
                  </td>
                  <td class="right num" data-label="Load">
                    {load(lease.load)}
                  </td>
                  <td class="right num" data-label="Priority">
                    {lease.priority ?? "–"}
                  </td>
                  <td class="right num" data-label="Waits">
                    {ageWords(lease, head, model, now)}
                  </td>
                  <td class="right act">
                    <button
                      type="button"
                      class="button small quiet"
                      aria-label={`Cancel ${lease.id}`}
                      onClick={() => setEnding(lease)}
                    >
                      Cancel
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {snapshot?.waiting.next_cursor && (
        <button type="button" class="button small" onClick={() => model.more("waiting")}>
          Show more
        </button>
      )}
      {ending && (
        <Confirm
          title="Cancel this waiting lease?"
          action="Cancel the lease"
          onClose={() => setEnding(null)}
          run={() => model.end(ending)}
        >
          <p>
            Lease <code class="break">{ending.id}</code>, load {load(ending.load)}, loses its place in the
            queue.
          </p>
          <p class="muted">Its caller is told that the lease was cancelled, and has to acquire again.</p>
        </Confirm>
      )}
    </section>
  );
}
