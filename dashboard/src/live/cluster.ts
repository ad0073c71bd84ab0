// Regions, nodes and leaders: read at the start, when a leader changes, and now and then.

import { signal } from "@preact/signals";
import { ApiError, failureWords, get } from "../api/client.ts";
import type { ClusterView, NodeItem } from "../api/types.ts";

export const cluster = signal<ClusterView | null>(null);
/** Null while it is not known, or where the server has no such call. */
export const nodes = signal<NodeItem[] | null>(null);
export const clusterError = signal<string | null>(null);

let reading: Promise<void> | null = null;
let again = false;

async function read(): Promise<void> {
  try {
    cluster.value = await get<ClusterView>("/v1/cluster");
    clusterError.value = null;
  } catch (error) {
    clusterError.value = failureWords(error);
  }
}

/** Reads it; calls that come while it is read make it be read once more. */
export function readCluster(): Promise<void> {
  if (reading) {
    again = true;
    return reading;
  }
  reading = read().finally(() => {
    reading = null;
    if (again) {
      again = false;
      void readCluster();
    }
  });
  return reading;
}

let withoutNodes = false;

export async function readNodes(): Promise<void> {
  if (withoutNodes) return;
  try {
    nodes.value = (await get<{ items: NodeItem[] }>("/v1/cluster/nodes")).items;
  } catch (error) {
    // An older server: the page shows what /v1/cluster has.
    if (error instanceof ApiError && error.status === 404) withoutNodes = true;
    else clusterError.value = failureWords(error);
  }
}

/** Reads every so often while something that shows it is on the screen. Answers how to stop. */
export function watchCluster(everyMs: number, withNodes: boolean): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout>;
  const round = async () => {
    if (!document.hidden) {
      await readCluster();
      if (withNodes) await readNodes();
    }
    if (!stopped) timer = setTimeout(round, everyMs);
  };
  void round();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
