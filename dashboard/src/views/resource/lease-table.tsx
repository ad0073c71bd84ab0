// A list of leases in a box that scrolls. Only the rows in sight are in the document, so a queue may be long.

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import type { Lease } from "../../api/types.ts";
import { LISTED_MOST, type ResourceModel } from "../../live/resource.ts";
import { useBoxRange, useMedia } from "../../ui/virtual.ts";
import { count } from "../../words/format.ts";

/** As in the style sheet. */
const ROW = 80;
const ROW_NARROW = 128;

export interface Column {
  label: string;
  right?: boolean;
}

interface Props {
  label: string;
  columns: Column[];
  leases: Lease[];
  /** The cells of a row. */
  cells: (lease: Lease, index: number) => ComponentChildren;
}

function Gap({ rows, height }: { rows: number; height: number }) {
  return rows > 0 ? <tr class="gap" aria-hidden="true" style={{ height: `${rows * height}px` }} /> : null;
}

export function LeaseTable({ label, columns, leases, cells }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const narrow = useMedia("(max-width: 560px)");
  const height = narrow ? ROW_NARROW : ROW;
  const { first, end } = useBoxRange(box, height, leases.length);
  return (
    <div ref={box} class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class="stack leases" aria-rowcount={leases.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.label} class={column.right ? "right" : ""}>
                {column.label}
              </th>
            ))}
            <th>
              <span class="sr">Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          <Gap rows={first} height={height} />
          {leases.slice(first, end).map((lease, i) => (
            <tr key={lease.id} data-lease={lease.id} aria-rowindex={first + i + 2}>
              {cells(lease, first + i)}
            </tr>
          ))}
          <Gap rows={leases.length - end} height={height} />
        </tbody>
      </table>
    </div>
  );
}

/** The way to the rest of a list, as far as this page reads it. */
export function More({ model, of }: { model: ResourceModel; of: "waiting" | "held" }) {
  const shown = model.limits[of];
  if (shown >= LISTED_MOST) return <p class="note">The first {count(shown)} are shown.</p>;
  return (
    <button type="button" class="button small" onClick={() => model.more(of)}>
      Show more
    </button>
  );
}
