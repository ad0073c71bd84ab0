import { useEffect, useMemo, useState } from "preact/hooks";
import type { Column } from "../../api/types.ts";
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
  const times = Array.from({ length }, (_, i) => (endMs - (length - 1 - i) * stepMs) / 1_000);
  const fill = Object.entries(series.utilization ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    times,
    depth: [
      { label: "waiting", color: "warm", values: series.queue_depth, filled: true },
      { label: "held", color: "accent", values: series.held },
    ],
    throughput: [
      { label: "granted", color: "accent", values: perSecond(series.granted, stepMs), filled: true },
      { label: "refused", color: "red", values: perSecond(series.rejected, stepMs) },
    ],
    wait: [
      { label: "p50", color: "accent", values: series.wait_p50_ms },
      { label: "p99", color: "violet", values: series.wait_p99_ms },
    ],
    fill: fill.map(([label, values], i) => ({
      label,
      values,
      color: LIMIT_COLORS[i % LIMIT_COLORS.length] ?? "accent",
    })),
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
