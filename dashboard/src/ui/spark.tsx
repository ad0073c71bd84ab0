// A small chart beside a figure. The figure says it; the chart only adds to it.

import { useLayoutEffect, useRef } from "preact/hooks";
import type { Row } from "../live/board.ts";
import { clock } from "../live/clock.ts";
import { tick } from "../live/ticker.ts";
import { type ColorName, faint, palette } from "./palette.ts";

const WIDTH = 96;
const HEIGHT = 24;
const values = new Float32Array(60);

function draw(canvas: HTMLCanvasElement, color: string, quiet: string, floor: number): void {
  const scale = Math.min(2, devicePixelRatio || 1);
  if (canvas.width !== WIDTH * scale) {
    canvas.width = WIDTH * scale;
    canvas.height = HEIGHT * scale;
  }
  const context = canvas.getContext("2d");
  if (!context) return;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);

  let most = floor;
  for (const value of values) if (value > most) most = value;
  const drawn = most === floor && values.every((value) => !(value > 0)) ? quiet : color;
  const step = WIDTH / (values.length - 1);
  const y = (value: number) => HEIGHT - 1.5 - (value / most) * (HEIGHT - 4);

  context.beginPath();
  let first = -1;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? Number.NaN;
    if (Number.isNaN(value)) continue;
    if (first < 0) {
      first = i;
      context.moveTo(i * step, y(value));
    } else context.lineTo(i * step, y(value));
  }
  if (first < 0) return;
  context.strokeStyle = drawn;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(WIDTH, HEIGHT);
  context.lineTo(first * step, HEIGHT);
  context.fillStyle = faint(drawn, 0.12);
  context.fill();
}

interface Props {
  row: Row;
  figure: "depth" | "granted";
  color: ColorName;
}

export function Spark({ row, figure, color }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const now = tick.value;

  useLayoutEffect(() => {
    if (!canvas.current) return;
    if (row.hasRing) row.ring.copy(figure, Math.floor(clock.now() / 1_000) - 1, values);
    else values.fill(row.depth === null ? Number.NaN : 0);
    // A single grant is no peak: small figures stay near the ground.
    draw(canvas.current, palette()[color], palette()["line-2"], 4);
  }, [row, figure, color, now]);

  return <canvas ref={canvas} class="spark" aria-hidden="true" />;
}
