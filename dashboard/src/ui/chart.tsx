// A chart with its figures as text above it. The text follows the cursor; without one it is the newest.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { Column } from "../api/types.ts";
import { clockTime } from "../words/format.ts";
import { type ColorName, faint, palette } from "./palette.ts";
import { paletteVersion } from "./theme.ts";

export interface Line {
  label: string;
  color: ColorName;
  values: Column;
  filled?: boolean;
}

interface Props {
  title: string;
  /** Unix seconds of the ends of the buckets. */
  times: number[];
  lines: Line[];
  format: (value: number | null | undefined) => string;
  /** The largest value of the axis at least. */
  floor: number;
  height?: number;
}

function options(props: Props, width: number, onCursor: (index: number | null) => void): uPlot.Options {
  const colors = palette();
  const axis = {
    stroke: colors["text-3"],
    font: "11px system-ui, sans-serif",
    grid: { stroke: colors.line, width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: props.height ?? 150,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "resource" }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      x: { time: true },
      y: { range: (_self, _min, max) => [0, Math.max(props.floor, (max ?? 0) * 1.08)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 70,
        size: 24,
        values: (_self, splits) => splits.map(shortTime),
      },
      { ...axis, size: 48, space: 34, values: (_self, splits) => splits.map(props.format) },
    ],
    series: [
      {},
      ...props.lines.map(
        (line): uPlot.Series => ({
          label: line.label,
          stroke: colors[line.color],
          width: 1.5,
          fill: line.filled ? faint(colors[line.color], 0.1) : "transparent",
          points: { show: false },
          // Percentiles are there only for seconds in which something was granted.
          spanGaps: !line.filled,
        }),
      ),
    ],
    hooks: { setCursor: [(self) => onCursor(self.cursor.idx ?? null)] },
  };
}

function shortTime(second: number): string {
  const text = clockTime(second * 1_000);
  return second % 60 === 0 ? text.slice(0, 5) : text;
}

/** The newest that is known of the last points: the very last may not be full yet. */
function newest(column: Column): number | null {
  return column.slice(-3).findLast((value) => value !== null) ?? null;
}

function highest(column: Column): number | null {
  let most: number | null = null;
  for (const value of column) if (value !== null && (most === null || value > most)) most = value;
  return most;
}

export function Chart(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const { times, lines, format } = props;
  const shape = `${lines.map((line) => line.label).join()}|${paletteVersion.value}`;

  useLayoutEffect(() => {
    const parent = box.current;
    if (!parent) return;
    const chart = new uPlot(options(props, parent.clientWidth, setCursor), data(times, lines), parent);
    plot.current = chart;
    const resized = new ResizeObserver(() => {
      if (parent.clientWidth > 0) chart.setSize({ width: parent.clientWidth, height: props.height ?? 150 });
    });
    resized.observe(parent);
    return () => {
      resized.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData(data(times, lines));
  }, [times, lines]);

  const at = cursor !== null && cursor < times.length ? cursor : null;
  const said = lines.map(
    (line) => `${line.label}: now ${format(newest(line.values))}, most ${format(highest(line.values))}`,
  );
  return (
    <figure class="chart" role="group" aria-label={props.title}>
      <figcaption>
        <h3>{props.title}</h3>
        <span class="chart-time">{at !== null ? clockTime((times[at] ?? 0) * 1_000) : ""}</span>
        <ul class="legend">
          {lines.map((line) => (
            <li key={line.label}>
              <span class={`swatch ${line.color}`} aria-hidden="true" />
              {line.label} <b class="num">{format(at !== null ? line.values[at] : newest(line.values))}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${props.title}. ${said.join("; ")}.`} />
    </figure>
  );
}

function data(times: number[], lines: Line[]): uPlot.AlignedData {
  return [times, ...lines.map((line) => line.values)];
}
