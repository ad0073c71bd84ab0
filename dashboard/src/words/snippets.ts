// Lines to copy: how to create a resource, and how to use it. Everything here is pure.

import type { Load } from "../api/types.ts";

/** Text as one word of a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function pathOf(name: string): string {
  return `/v1/resources/${encodeURIComponent(name)}`;
}

export function curlPut(origin: string, name: string, body: unknown): string {
  const json = JSON.stringify(body, null, 1).replace(/\n\s*/g, " ");
  return `curl -X PUT ${shellWord(origin + pathOf(name))} \\\n  --json ${shellWord(json)}`;
}

export function curlAcquire(origin: string, name: string, load: Load, waitMs: number): string {
  const json = JSON.stringify({ load, wait_ms: waitMs });
  return `curl ${shellWord(`${origin + pathOf(name)}/acquire`)} \\\n  --json ${shellWord(json)}`;
}

function pythonLoad(load: Load): string {
  if (typeof load === "number") return String(load);
  const parts = Object.entries(load).map(([name, n]) => `${JSON.stringify(name)}: ${n}`);
  return `{${parts.join(", ")}}`;
}

/** A worker: it waits its turn, calls, and gives back. */
export function python(origin: string, name: string, load: Load, waitS: number): string {
  return [
    "import ratequeue",
    "",
    "with ratequeue.acquire(",
    `    ${JSON.stringify(name)}, load=${pythonLoad(load)}, timeout=${waitS},`,
    `    base_url=${JSON.stringify(origin)},`,
    ") as lease:",
    "    ...  # your call",
  ].join("\n");
}
