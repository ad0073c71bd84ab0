// Workers for the pictures: a day at a company that calls models, payments and maps.

import { slots, Worker } from "../e2e/client.ts";

interface Job {
  name: string;
  limits: Record<string, unknown>;
  /** New acquires a second, what each weighs, and how long its work takes. */
  perSecond: number;
  load: () => number;
  workMs: () => number;
}

const between = (least: number, most: number) => () => Math.round(least + Math.random() * (most - least));
const rate = (quota: number, windowMs: number, cost = "load") => ({
  kind: "rate",
  quota,
  window_ms: windowMs,
  cost,
});
const bucket = (quota: number, windowMs: number, burst: number, cost = "load") => ({
  ...rate(quota, windowMs, cost),
  algorithm: "token_bucket",
  burst,
});

const JOBS: Job[] = [
  {
    name: "openai/gpt-5",
    limits: { tpm: bucket(200_000, 60_000, 20_000), rpm: rate(500, 60_000, "one"), ...slots(20) },
    perSecond: 2.1,
    load: between(400, 3_600),
    workMs: between(900, 4_000),
  },
  {
    name: "azure/gpt-4.1",
    limits: { tpm: bucket(400_000, 60_000, 80_000) },
    perSecond: 2,
    load: between(600, 4_000),
    workMs: between(700, 3_000),
  },
  {
    name: "stripe-api",
    limits: { rps: bucket(5, 1_000, 20, "one") },
    perSecond: 4,
    load: () => 1,
    workMs: between(80, 400),
  },
  { name: "pdf-render", limits: slots(8), perSecond: 3, load: () => 1, workMs: between(1_200, 4_000) },
  {
    name: "maps:geocode",
    limits: { rps: rate(10, 1_000, "one") },
    perSecond: 4,
    load: () => 1,
    workMs: between(60, 200),
  },
  {
    name: "embeddings",
    limits: { tpm: rate(1_000_000, 60_000) },
    perSecond: 3,
    load: between(500, 8_000),
    workMs: between(200, 600),
  },
  {
    name: "crm/salesforce",
    limits: { daily: rate(15_000, 86_400_000, "one"), ...slots(25) },
    perSecond: 1,
    load: () => 1,
    workMs: between(300, 1_500),
  },
  {
    name: "sendgrid",
    limits: { rps: rate(40, 1_000, "one") },
    perSecond: 1,
    load: () => 1,
    workMs: between(50, 150),
  },
  { name: "search.index", limits: slots(4), perSecond: 0.4, load: () => 1, workMs: between(500, 2_500) },
  { name: "nightly-export", limits: slots(2), perSecond: 0, load: () => 1, workMs: () => 1 },
];

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** One call as a worker makes it: it waits its turn at the server, works, and gives back. */
async function work(url: string, job: Job, signal: AbortSignal, n: number): Promise<void> {
  const worker = new Worker(url);
  const body = {
    load: job.load(),
    priority: n % 9 === 0 ? 1 : 5,
    wait_ms: 45_000,
    hold_ms: 30_000,
    metadata: { worker: `ingest-${n % 12}`, job: `${4_000 + n}` },
  };
  const path = `${url}/v1/resources/${encodeURIComponent(job.name)}/acquire`;
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  };
  const answer = await fetch(path, init);
  const lease = (await answer.json()) as { id: string; state: string };
  if (lease.state !== "held") return;
  await pause(job.workMs());
  await worker.release(lease.id);
}

export interface Running {
  stop: () => void;
}

export async function startLoad(url: string): Promise<Running> {
  const worker = new Worker(url);
  for (const job of JOBS) await worker.put(job.name, job.limits);

  const stop = new AbortController();
  let n = 0;
  const timers = JOBS.filter((job) => job.perSecond > 0).map((job) =>
    setInterval(() => {
      n += 1;
      work(url, job, stop.signal, n).catch(() => {});
    }, 1_000 / job.perSecond),
  );
  return {
    stop: () => {
      timers.forEach(clearInterval);
      stop.abort();
    },
  };
}
