import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import { perMinute, slots, type Worker } from "./client.ts";
import { expect, live, resourceUrl, test } from "./fixtures.ts";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string; failureSummary: string }[];
}

/** What axe finds, without what it calls minor. */
async function violations(page: Page): Promise<string[]> {
  // Evaluated from outside the page: its policy lets no other script in.
  await page.evaluate(axeSource);
  const found = (await page.evaluate("axe.run(document).then((result) => result.violations)")) as Violation[];
  return found
    .filter((violation) => violation.impact !== "minor")
    .map(
      (violation) =>
        `${violation.id}: ${violation.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`,
    );
}

async function seed(worker: Worker): Promise<void> {
  await worker.put("azure/gpt-4.1[eastus]:a-long-name-that-has-to-be-cut-somewhere", {
    ...perMinute("tpm", 1_000),
    ...slots(2),
  });
  await worker.put("idle", slots(1));
  for (let i = 0; i < 4; i++) {
    await worker.acquire("azure/gpt-4.1[eastus]:a-long-name-that-has-to-be-cut-somewhere", {
      load: 10,
      metadata: { worker: `ingest-${i}`, path: "/a/very/long/path/that/goes/on/and/on/and/on/and/on/and/on" },
    });
  }
}

const VIEWS: [string, string, (page: Page) => Promise<void>][] = [
  ["overview", "#/", live],
  [
    "resource",
    `#/r/${encodeURIComponent("azure/gpt-4.1[eastus]:a-long-name-that-has-to-be-cut-somewhere")}`,
    async (page) => {
      await live(page);
      await expect(page.getByRole("region", { name: "Waiting leases" }).locator("tbody tr")).toHaveCount(2);
      await expect(page.locator(".chart canvas")).toHaveCount(4);
    },
  ],
  ["cluster", "#/cluster", async (page) => expect(page.locator("[data-node]").first()).toBeVisible()],
  ["new", "#/new", async (page) => expect(page.getByLabel("Name")).toBeVisible()],
];

for (const scheme of ["light", "dark"] as const) {
  test(`every view, ${scheme}: axe finds nothing, and nothing is wider than 390 px`, async ({
    page,
    worker,
    home,
  }) => {
    await seed(worker);
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    for (const [name, hash, ready] of VIEWS) {
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.goto(`${home}/${hash}`);
      await ready(page);
      expect(await violations(page), `${name}, ${scheme}`).toEqual([]);

      await page.setViewportSize({ width: 390, height: 844 });
      const over = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      await expect.poll(over, { message: `${name} at 390 px` }).toBeLessThanOrEqual(0);
    }
  });
}

test("dialogs are found by axe to be sound, and the keyboard reaches everything", async ({
  page,
  worker,
  home,
}) => {
  await worker.put("q", slots(1));
  await page.goto(resourceUrl(home, "q"));
  await page.getByRole("button", { name: "Change limits" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  expect(await violations(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Change limits" })).toBeFocused();
});

test("light and dark can be chosen, and are remembered", async ({ page, home }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(home);
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.getByLabel("Colours").selectOption("dark");
  expect(await background()).not.toBe(light);
  await page.reload();
  await expect(page.locator("html")).toHaveAttribute("data-theme", "dark");
});

test("a key is asked for, sent, and kept for the session", async ({ page, home }) => {
  // Keys are not there yet, so the refusal is made here.
  await page.route("**/v1/**", async (route) => {
    if (route.request().headers().authorization === "Bearer rq_1_secret") return route.continue();
    const problem = {
      type: "/problems/unauthenticated",
      title: "No key",
      status: 401,
      code: "unauthenticated",
      detail: "A key is needed.",
    };
    return route.fulfill({ status: 401, contentType: "application/problem+json", json: problem });
  });
  await page.goto(home);
  await page.getByRole("textbox", { name: "Key" }).fill("rq_1_secret");
  await page.getByRole("button", { name: "Use this key" }).click();
  await live(page);
  await page.reload();
  await live(page);
  await expect(page.getByRole("dialog")).toHaveCount(0);
});
