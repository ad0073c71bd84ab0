// Ten thousand resources and a thousand events a second: `LOAD=1 ./e2e.sh load`. It takes a few minutes, and a machine that
// does nothing else; so it is left out otherwise.

import type { Browser, Page } from "@playwright/test";
import { slots, Worker } from "./client.ts";
import { expect, live, test } from "./fixtures.ts";

const RESOURCES = Number(process.env.RESOURCES ?? 10_000);
const EVENTS_PER_S = Number(process.env.EVENTS_PER_S ?? 1_000);
const FRAME_MS = 50;
const HEAP_MB = 150;

const nameOf = (i: number) => `team-${i % 40}/service-${String(i).padStart(5, "0")}`;

/** Runs `job` for 0 to `n` - 1, so many at once. */
async function inParallel(n: number, width: number, job: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < n) await job(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  tdur?: number;
  args?: { name?: string };
}

/** CPU time in ms of the longest tasks of the page's main thread while something is done. */
async function longestTasks(browser: Browser, page: Page, work: () => Promise<void>): Promise<number[]> {
  await browser.startTracing(page, { categories: ["toplevel", "devtools.timeline"] });
  await work();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as {
    traceEvents: TraceEvent[];
  };
  const painting = new Set(
    traceEvents.filter((event) => event.name === "FireAnimationFrame").map((event) => event.pid),
  );
  const main = traceEvents.find(
    (event) =>
      event.name === "thread_name" && event.args?.name === "CrRendererMain" && painting.has(event.pid),
  );
  return traceEvents
    .filter((event) => event.ph === "X" && event.pid === main?.pid && event.tid === main.tid)
    .filter((event) => event.name.endsWith("RunTask"))
    .map((event) => (event.tdur ?? 0) / 1_000)
    .sort((a, b) => b - a)
    .slice(0, 5);
}

async function heapMb(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = (await session.send("Runtime.getHeapUsage")) as { usedSize: number };
  return usedSize / 1e6;
}

test("many resources and events stay smooth", async ({ browser, page, worker, home }) => {
  test.skip(!process.env.LOAD, "LOAD=1 runs it");
  test.setTimeout(600_000);
  await inParallel(RESOURCES, 64, (i) => worker.put(nameOf(i), slots(1 + (i % 3))));

  let on = true;
  let calls = 0;
  const began = Date.now();
  const caller = async () => {
    // An acquire that is granted and its release are two events. Half of the calls go to a hundred resources.
    while (on) {
      if (calls > ((Date.now() - began) / 1_000) * (EVENTS_PER_S / 2)) {
        await new Promise((done) => setTimeout(done, 5));
        continue;
      }
      calls += 1;
      const name = nameOf(Math.floor(Math.random() * (calls % 2 ? RESOURCES : 100)));
      const lease = await new Worker(worker.url).acquire(name).catch(() => null);
      if (lease) await worker.release(lease.id);
    }
  };
  const callers = Array.from({ length: 48 }, caller);

  try {
    await page.goto(home);
    await live(page);
    await expect(page.locator('[data-total="resources"]')).toHaveText(RESOURCES.toLocaleString("en"), {
      timeout: 30_000,
    });
    const watched = await longestTasks(browser, page, () => page.waitForTimeout(10_000));
    const scrolled = await longestTasks(browser, page, async () => {
      for (let i = 0; i < 60; i++) {
        await page.mouse.wheel(0, 900);
        await page.waitForTimeout(50);
      }
    });
    const heap = await heapMb(page);
    const perSecond = (2 * calls * 1_000) / (Date.now() - began);
    const said = (tasks: number[]) => tasks.map((ms) => ms.toFixed(1)).join(" ");
    process.stdout.write(
      `load: ${perSecond.toFixed(0)} events/s; longest tasks, ms of CPU: watching ${said(watched)}, scrolling ${said(scrolled)}; ` +
        `heap ${heap.toFixed(1)} MB\n`,
    );
    expect(watched[0]).toBeLessThan(FRAME_MS);
    expect(scrolled[0]).toBeLessThan(FRAME_MS);
    expect(heap).toBeLessThan(HEAP_MB);
  } finally {
    on = false;
    await Promise.all(callers);
  }
});
