// Takes the pictures of docs/images from three nodes under load. LOAD_SECONDS: how long they run before, 60 when absent.

import { resolve } from "node:path";
import { expect, type Page, test } from "@playwright/test";
import { live } from "../e2e/fixtures.ts";
import { type Node, threeNodes } from "../e2e/node.ts";
import { startLoad } from "./load.ts";

const IMAGES = resolve(process.env.IMAGES ?? "../docs/images");
const SECONDS = Number(process.env.LOAD_SECONDS ?? 60);

const VIEWS: [string, string, (page: Page) => Promise<void>][] = [
  ["overview", "#/", live],
  [
    "resource",
    `#/r/${encodeURIComponent("openai/gpt-5")}`,
    async (page) => {
      await expect(page.getByText("What blocks right now")).toBeVisible();
      await expect(page.locator(".chart canvas")).toHaveCount(4);
      await page
        .locator(".segments")
        .getByText(SECONDS > 240 ? "5 min" : "1 min", { exact: true })
        .click();
      await expect(page.locator(".chart canvas")).toHaveCount(4);
    },
  ],
  ["cluster", "#/cluster", async (page) => expect(page.locator("[data-node]")).toHaveCount(3)],
  ["new", "#/new", async (page) => expect(page.getByRole("textbox", { name: "Name" })).toBeVisible()],
];

test("pictures", async ({ browser }) => {
  test.setTimeout((SECONDS + 120) * 1_000);
  const cluster = await threeNodes("production");
  const [node] = cluster.nodes as [Node];
  const load = await startLoad(node.url);
  try {
    // Charts need a past.
    await new Promise((done) => setTimeout(done, SECONDS * 1_000));
    for (const [width, height] of [
      [1440, 900],
      [390, 844],
    ] as const) {
      for (const colorScheme of ["light", "dark"] as const) {
        const context = await browser.newContext({
          viewport: { width, height },
          colorScheme,
          deviceScaleFactor: 2,
        });
        const page = await context.newPage();
        for (const [name, hash, ready] of VIEWS) {
          await page.goto(`${cluster.page(node)}/${hash}`);
          await ready(page);
          // A few events, so that what moves has moved.
          await page.waitForTimeout(3_000);
          await page.screenshot({
            path: `${IMAGES}/${name}-${width}-${colorScheme}.png`,
            animations: "disabled",
          });
        }
        await context.close();
      }
    }
  } finally {
    load.stop();
    await cluster.end();
  }
});
