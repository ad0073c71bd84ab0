import { useEffect, useMemo, useState } from "preact/hooks";
import type { Column } from "../../api/types.ts";
import { binEnds, binSize, bins, type Fold } from "../../live/bins.ts";
import { type History, HistoryReader, RANGES, type Range } from "../../live/history.ts";
import { Chart, type Line } from "../../ui/chart.tsx";
import type { ColorName } from "../../ui/palette.ts";
import { Problem, Segments } from "../../ui/parts.tsx";
import { clockTime, compact, duration, percent, rate } from "../../words/format.ts";

const LIMIT_COLORS: ColorName[] = ["accent", "warm", "violet", "green", "red"];

function perSecond(column: Column, stepMs: number): Column {
  return stepMs === 1_000 ? column : column.map((n) => (n === null ? null : (n * 1_000) / stepMs));
}

interface Figures {
  times: number[];
  depth: Line[];
  throughput: Line[];
  wait: Line[];
  fill: Line[];
}

function figures({ series, stepMs, endMs }: History): Figures {
  const length = series.queue_depth.length;
  const size = binSize(length);
  const start = Math.round(endMs / stepMs) - length;
  const folded = (column: Column, how: Fold) => bins(column, size, start, how);
  const line = (label: string, color: ColorName, values: Column): Line => ({ label, color, values });

  const limits = Object.entries(series.utilization ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    times: binEnds(length, size, start, stepMs),
    depth: [
      { ...line("waiting", "warm", folded(series.queue_depth, "last")), filled: true },
      line("held", "accent", folded(series.held, "last")),
    ],
    throughput: [
      { ...line("granted", "accent", folded(perSecond(series.granted, stepMs), "mean")), filled: true },
      line("refused", "red", folded(perSecond(series.rejected, stepMs), "mean")),
    ],
    wait: [
      line("p99", "violet", folded(series.wait_p99_ms, "most")),
      line("p50", "accent", folded(series.wait_p50_ms, "mean")),
    ],
    fill: limits.map(([label, values], i) =>
      line(label, LIMIT_COLORS[i % LIMIT_COLORS.length] ?? "accent", folded(values, "most")),
    ),
  };
}

export function Charts({ name, region }: { name: string; region: string | undefined }) {
  const [range, setRange] = useState<Range>("15m");
  const reader = useMemo(() => new HistoryReader(name, range, region), [name, range, region]);
  useEffect(() => {
    reader.start();
    return () => reader.close();
  }, [reader]);

  const history = reader.history.value;
  const drawn = useMemo(() => (history ? figures(history) : null), [history]);
  return (
    <section class="charts" aria-label="History">
      <div class="section-head">
        <h2>History</h2>
        <span class="grow" />
        <Segments name="range" label="Range" value={range} choices={RANGES} onChange={setRange} />
      </div>
      {reader.error.value && !history && <Problem text={reader.error.value} />}
      {reader.unknown.value && !history && (
        <p class="note">
          No history yet: it begins with the first acquire. The busiest 1,000 resources are followed.
        </p>
      )}
      {drawn && history && (
        <>
          <div class="chart-grid">
            <Chart title="Queue" times={drawn.times} lines={drawn.depth} format={compact} floor={4} />
            <Chart title="Throughput" times={drawn.times} lines={drawn.throughput} format={rate} floor={2} />
            <Chart title="Wait" times={drawn.times} lines={drawn.wait} format={duration} floor={10} />
            <Chart title="Fill of limits" times={drawn.times} lines={drawn.fill} format={percent} floor={1} />
          </div>
          {history.sinceMs > history.endMs - history.series.queue_depth.length * history.stepMs && (
            <p class="note">
              This node counts since {clockTime(history.sinceMs)}; what was before is not known.
            </p>
          )}
        </>
      )}
    </section>
  );
}
