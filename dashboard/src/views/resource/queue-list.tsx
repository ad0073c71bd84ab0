// The queue in its order, and why each lease in it waits.

import { useState } from "preact/hooks";
import type { Lease } from "../../api/types.ts";
import { clock } from "../../live/clock.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { tick } from "../../live/ticker.ts";
import { Confirm } from "../../ui/dialog.tsx";
import { Empty, Words } from "../../ui/parts.tsx";
import { whyWaiting } from "../../words/blocks.ts";
import { count, load, shortId } from "../../words/format.ts";
import { type Column, LeaseTable, More } from "./lease-table.tsx";
import { Metadata } from "./metadata.tsx";
import { ageWords } from "./since.ts";

const COLUMNS: Column[] = [
  { label: "#", right: true },
  { label: "Lease" },
  { label: "Load", right: true },
  { label: "Priority", right: true },
  { label: "Waits", right: true },
];

export function QueueList({ model }: { model: ResourceModel }) {
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
        <LeaseTable
          label="Waiting leases"
          columns={COLUMNS}
          leases={queue}
          cells={(lease, i) => (
            <>
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
            </>
          )}
        />
      )}
      {snapshot?.waiting.next_cursor && <More model={model} of="waiting" />}
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
