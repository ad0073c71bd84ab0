import { useState } from "preact/hooks";
import type { Lease } from "../../api/types.ts";
import { clock } from "../../live/clock.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { tick } from "../../live/ticker.ts";
import { Confirm } from "../../ui/dialog.tsx";
import { Empty } from "../../ui/parts.tsx";
import { clockTime, count, duration, load, shortId } from "../../words/format.ts";
import { type Column, LeaseTable, More } from "./lease-table.tsx";
import { Metadata } from "./metadata.tsx";
import { ageWords } from "./since.ts";

const COLUMNS: Column[] = [
  { label: "Lease" },
  { label: "Load", right: true },
  { label: "Token", right: true },
  { label: "Held for", right: true },
  { label: "Ends in", right: true },
];

/** Who holds, since when, and until when. */
export function Holders({ model }: { model: ResourceModel }) {
  const [ending, setEnding] = useState<Lease | null>(null);
  tick.value;
  const snapshot = model.snapshot.value;
  const held = snapshot?.held.items ?? [];
  const passed = snapshot ? Date.now() - snapshot.readAt : 0;
  const now = clock.now();
  const leftOf = (lease: Lease) => Math.max(0, (lease.expires_in_ms ?? 0) - passed);
  return (
    <section class="card list" aria-label="Held">
      <div class="section-head">
        <h2>Held</h2>
        <span class="muted num">{count(snapshot?.stats.held)}</span>
      </div>
      {snapshot && held.length === 0 ? (
        <Empty title="Nobody holds a lease">
          <p>A lease is held from its grant until it is released or expires.</p>
        </Empty>
      ) : (
        <LeaseTable
          label="Held leases"
          columns={COLUMNS}
          leases={held}
          cells={(lease) => (
            <>
              <td class="main">
                <code title={lease.id}>{shortId(lease.id)}</code>
                <span class="why">waited {duration(lease.waited_ms)}</span>
                <Metadata of={lease.metadata} />
              </td>
              <td class="right num" data-label="Load">
                {load(lease.load)}
              </td>
              <td class="right num" data-label="Token">
                {count(lease.fencing_token)}
              </td>
              <td class="right num" data-label="Held for">
                {ageWords(lease, null, model, now)}
              </td>
              <td
                class="right num"
                data-label="Ends in"
                title={`at ${clockTime(Date.now() + leftOf(lease))}, unless it is extended`}
              >
                {duration(leftOf(lease))}
              </td>
              <td class="right act">
                <button
                  type="button"
                  class="button small quiet"
                  aria-label={`Revoke ${lease.id}`}
                  onClick={() => setEnding(lease)}
                >
                  Revoke
                </button>
              </td>
            </>
          )}
        />
      )}
      {snapshot?.held.next_cursor && <More model={model} of="held" />}
      {ending && (
        <Confirm
          title="Revoke this held lease?"
          action="Revoke the lease"
          onClose={() => setEnding(null)}
          run={() => model.end(ending)}
        >
          <p>
            Lease <code class="break">{ending.id}</code>, load {load(ending.load)}, ends now, and what it
            holds is free for others.
          </p>
          <p class="muted">
            Its holder learns of it only when it extends or releases: work that it has begun may go on. What
            it writes can be refused by its fencing token, {count(ending.fencing_token)}.
          </p>
        </Confirm>
      )}
    </section>
  );
}
