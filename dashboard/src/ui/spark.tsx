// A small chart beside a figure. The figure says it; the chart only adds to it.
//
// It is a path and no canvas: while a long list is scrolled, sixty canvases that come and go cost more than all else.

import { useLayoutEffect, useRef } from "preact/hooks";
import type { Row } from "../live/board.ts";
import { clock } from "../live/clock.ts";
import { tick } from "../live/ticker.ts";

const WIDTH = 96;
const HEIGHT = 24;
/** A single grant is no peak: small figures stay near the ground. */
const FLOOR = 4;
const values = new Float32Array(60);

interface Paths {
  line: string;
  area: string;
  quiet: boolean;
}

/** The line through the values and the area below it; values that are not known come first, and are left out. */
export function sparkPaths(points: Float32Array): Paths {
  let most = FLOOR;
  let quiet = true;
  for (const value of points) {
    if (value > most) most = value;
    if (value > 0) quiet = false;
  }

  const step = WIDTH / (points.length - 1);
  let line = "";
  let first = -1;
  for (let i = 0; i < points.length; i++) {
    const value = points[i] ?? Number.NaN;
    if (Number.isNaN(value)) continue;
    if (first < 0) first = i;
    const y = HEIGHT - 1.5 - (value / most) * (HEIGHT - 4);
    line += `${line ? "L" : "M"}${(i * step).toFixed(1)} ${y.toFixed(1)}`;
  }
  if (!line) return { line, area: "", quiet };
  return { line, area: `${line}L${WIDTH} ${HEIGHT}L${(first * step).toFixed(1)} ${HEIGHT}Z`, quiet };
}

interface Props {
  row: Row;
  figure: "depth" | "granted";
  tone: "warm" | "accent";
}

export function Spark({ row, figure, tone }: Props) {
  const group = useRef<SVGGElement>(null);
  const drawn = useRef("");
  const now = tick.value;

  useLayoutEffect(() => {
    if (row.hasRing) row.ring.copy(figure, Math.floor(clock.now() / 1_000) - 1, values);
    else values.fill(row.depth === null ? Number.NaN : 0);
    const { line, area, quiet } = sparkPaths(values);
    // Most rows look as they did a quarter of a second ago.
    if (line === drawn.current || !group.current) return;
    drawn.current = line;
    const [fill, stroke] = group.current.children;
    fill?.setAttribute("d", area);
    stroke?.setAttribute("d", line);
    group.current.setAttribute("class", quiet ? "quiet" : "");
  }, [row, figure, now]);

  return (
    <svg
      class={`spark ${tone}`}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <g ref={group}>
        <path class="spark-fill" />
        <path class="spark-line" />
      </g>
    </svg>
  );
}
