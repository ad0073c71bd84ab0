// One pace for everything that moves: figures that change sixty times a second can not be read.

import { signal } from "@preact/signals";

export const PAINT_MS = 250;

/** Rises at most four times a second, at an animation frame, after something has changed or a second has passed. */
export const tick = signal(0);

let dirty = false;
let last = 0;

/** Says that there is something new to paint. */
export function changed(): void {
  dirty = true;
}

function frame(now: number): void {
  requestAnimationFrame(frame);
  if (now - last < PAINT_MS || (!dirty && now - last < 1_000)) return;
  last = now;
  dirty = false;
  tick.value += 1;
}

export function startTicker(): void {
  requestAnimationFrame(frame);
}
