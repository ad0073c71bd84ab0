// Every resource as a row. Only the rows on the screen are in the document.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Row } from "../../live/board.ts";
import { clock } from "../../live/clock.ts";
import { arrange, type Filter, type Sort, stateOf } from "../../live/order.ts";
import type { Overview } from "../../live/overview.ts";
import { tick } from "../../live/ticker.ts";
import { resourceHref } from "../../router.ts";
import { Empty, Meter } from "../../ui/parts.tsx";
import { Spark } from "../../ui/spark.tsx";
import { useMedia, useWindowRange } from "../../ui/virtual.ts";
import { compact, count, rate } from "../../words/format.ts";

/** As in the style sheet. */
const ROW = 56;
const ROW_NARROW = 104;
/** Rows that change places under the eye can not be read. */
const REORDER_MS = 2_000;

const STATE_WORDS = {
  waiting: "Callers wait",
  full: "Full",
  busy: "In use",
  idle: "Idle",
  unknown: "Not followed here",
};

function ResourceRow({ row, index, height }: { row: Row; index: number; height: number }) {
  tick.value;
  const now = clock.now();
  const state = stateOf(row, now);
  const unknown = state === "unknown";
  return (
    <div
      role="row"
      class={`row ${state}`}
      aria-rowindex={index + 2}
      data-resource={row.name}
      style={{ transform: `translateY(${index * height}px)` }}
    >
      <div role="cell" class="cell-name">
        <span class={`dot state-${state}`} title={STATE_WORDS[state]} />
        <a href={resourceHref(row.name)} title={row.name}>
          {row.name}
        </a>
        <span class="place">{row.placement}</span>
        <span class="sr">{STATE_WORDS[state]}</span>
      </div>
      <div role="cell" class="cell-figure">
        <span class="cell-label">Waiting</span>
        <span class={`num ${(row.depth ?? 0) > 0 ? "warm" : ""}`} data-figure="depth">
          {compact(row.depth)}
        </span>
        <Spark row={row} figure="depth" tone="warm" />
      </div>
      <div role="cell" class="cell-figure">
        <span class="cell-label">Granted</span>
        <span class="num" data-figure="rate">
          {rate(unknown ? null : row.rate(Math.floor(now / 1_000)))}
        </span>
        <Spark row={row} figure="granted" tone="accent" />
      </div>
      <div role="cell" class="cell-held">
        <span class="cell-label">Held</span>
        <span class="num" data-figure="held">
          {compact(row.held)}
        </span>
      </div>
      <div role="cell" class="cell-meter">
        <span class="cell-label">Fullest limit</span>
        <Meter
          ratio={row.utilization?.ratio ?? (row.depth === 0 && row.held === 0 ? 0 : null)}
          label={row.utilization?.name ?? ""}
        />
      </div>
    </div>
  );
}

interface Props {
  overview: Overview;
  filter: Filter;
  sort: Sort;
  loading: boolean;
}

/** The rows in their order. It is kept while the pointer or the focus is in the list. */
function useArranged({ overview, filter, sort, loading }: Props, held: () => boolean): Row[] {
  const { board } = overview;
  const last = useRef({ at: 0, shape: -1 });
  const [version, setVersion] = useState(0);
  const now = tick.value;

  useEffect(() => {
    const reshaped = board.shape !== last.current.shape;
    const due = performance.now() - last.current.at > REORDER_MS && !held();
    if (!reshaped && !due) return;
    last.current = { at: performance.now(), shape: board.shape };
    setVersion((old) => old + 1);
  }, [now]);

  return useMemo(
    () => arrange(board.rows.values(), filter, sort, clock.now()),
    [board, filter, sort, version, loading],
  );
}

export function Table({ overview, filter, sort, loading }: Props) {
  const body = useRef<HTMLDivElement>(null);
  const narrow = useMedia("(max-width: 760px)");
  const height = narrow ? ROW_NARROW : ROW;
  const held = () => body.current?.matches(":hover, :focus-within") ?? false;
  const rows = useArranged({ overview, filter, sort, loading }, held);
  const { first, end } = useWindowRange(body, height, rows.length);
  const shown = rows.slice(first, end);
  overview.visible = shown.filter((row) => row.depth !== null || overview.region).map((row) => row.name);

  return (
    <div class="table" role="table" aria-label="Resources" aria-rowcount={rows.length + 1}>
      <div role="rowgroup">
        <div role="row" class="row-head" aria-rowindex={1}>
          <span role="columnheader">Resource</span>
          <span role="columnheader">Waiting</span>
          <span role="columnheader">Granted</span>
          <span role="columnheader">Held</span>
          <span role="columnheader">Fullest limit</span>
        </div>
      </div>
      {rows.length === 0 && (
        <Empty title="No resource matches">
          <p>Search for something else, or show all regions and states.</p>
        </Empty>
      )}
      <div role="rowgroup" ref={body} class="rows" style={{ height: `${rows.length * height}px` }}>
        {shown.map((row, i) => (
          <ResourceRow key={row.name} row={row} index={first + i} height={height} />
        ))}
      </div>
      <p class="note table-foot">
        {count(rows.length)} of {count(overview.board.rows.size)} shown.
        {shown.some((row) => row.depth === null) &&
          " – stands for what this node does not follow: choose the region above to see it live."}
      </p>
    </div>
  );
}
