// A node, a worker, and a page whose console is watched.

import { test as base, expect, type Page } from "@playwright/test";
import { Worker } from "./client.ts";
import { type Cluster, oneNode } from "./node.ts";

interface Fixtures {
  cluster: Cluster;
  worker: Worker;
  home: string;
  complaints: string[];
}

/** What a browser says of a node that is down for a moment is no mistake of the page. */
const EXPECTED = /net::ERR_|Failed to load resource/;

export function watch(page: Page, complaints: string[]): void {
  page.on("console", (message) => {
    const bad = message.type() === "error" || message.type() === "warning";
    if (bad && !EXPECTED.test(message.text())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
}

export const test = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: the runner reads the names of the fixtures from here.
  cluster: async ({}, use) => {
    const cluster = await oneNode();
    await use(cluster);
    await cluster.end();
  },
  worker: async ({ cluster }, use) => {
    await use(new Worker(cluster.nodes[0]?.url ?? ""));
  },
  home: async ({ cluster }, use) => {
    const [node] = cluster.nodes;
    await use(node ? cluster.page(node) : "");
  },
  complaints: [
    async ({ page }, use) => {
      const complaints: string[] = [];
      watch(page, complaints);
      await use(complaints);
      // Also what breaks the content security policy is said there.
      expect(complaints).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

export function resourceUrl(home: string, name: string): string {
  return `${home}/#/r/${encodeURIComponent(name)}`;
}

export async function live(page: Page): Promise<void> {
  await expect(page.locator(".badge")).toHaveClass(/link-live/);
}

export function row(page: Page, name: string) {
  return page.locator(`[data-resource="${name}"]`);
}
