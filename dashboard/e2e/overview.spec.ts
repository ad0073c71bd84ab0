import { perMinute, slots } from "./client.ts";
import { expect, live, resourceUrl, row, test } from "./fixtures.ts";

test("an empty node says what to do next, and the form does it", async ({ page, home }) => {
  await page.goto(home);
  await expect(page.getByText("No resources yet")).toBeVisible();
  await page.getByRole("link", { name: "Create a resource" }).click();
  await page.getByText("Concurrent calls").click();
  await page.getByLabel("Name").fill("pdf/render[a]");
  await page.getByLabel("Calls at once").fill("3");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await expect(page.locator(".done")).toContainText("pdf/render[a] is there since log index");

  await page.getByRole("link", { name: "pdf/render[a]" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("pdf/render[a]");
  await expect(page.getByTestId("blocks")).toHaveText("Nothing blocks: the next acquire is granted at once.");
});

test("a queue grows while workers wait, and shrinks when a quota is raised in the page", async ({
  page,
  worker,
  home,
}) => {
  await worker.put("render", slots(2));
  await page.goto(home);
  await live(page);
  const depth = row(page, "render").locator('[data-figure="depth"]');
  await expect(depth).toHaveText("0");

  for (let i = 0; i < 5; i++) await worker.acquire("render");
  await expect(depth).toHaveText("3");
  await expect(row(page, "render").locator('[data-figure="held"]')).toHaveText("2");
  await expect(page.locator('[data-total="waiting"]')).toHaveText("3");
  for (let i = 0; i < 4; i++) await worker.acquire("render");
  await expect(depth).toHaveText("7");

  await row(page, "render").getByRole("link").click();
  await page.getByRole("button", { name: "Change limits" }).click();
  await page.getByLabel("At once").fill("20");
  await expect(page.locator(".preview")).toContainText(
    "2 at once → 20 at once. 2 are used, so 18 would be free",
  );
  await page.getByRole("button", { name: "Apply" }).click();
  await expect(page.locator(".done")).toHaveText(/Version 2 took effect at log index \d/);
  await expect(page.getByTestId("blocks")).toHaveText("Nothing blocks: the next acquire is granted at once.");

  await page.getByRole("link", { name: "Overview" }).first().click();
  await expect(depth).toHaveText("0");
  await expect(row(page, "render").locator('[data-figure="held"]')).toHaveText("9");
});

test("search, filters and order", async ({ page, worker, home }) => {
  await worker.put("alpha", slots(1));
  await worker.put("beta", perMinute("tpm", 1000));
  await worker.put("gamma", slots(1));
  await worker.acquire("gamma");
  await worker.acquire("gamma");
  await page.goto(home);
  await live(page);
  const names = page.locator("[data-resource] a");
  await expect(names).toHaveText(["gamma", "alpha", "beta"]);

  await page.keyboard.press("/");
  await page.keyboard.type("BET");
  await expect(names).toHaveText(["beta"]);
  await page.getByRole("searchbox").fill("");
  await page.getByText("Waiting", { exact: true }).nth(1).click();
  await expect(names).toHaveText(["gamma"]);
  await page.locator(".segments").getByText("All").click();
  await page.getByLabel("Order").selectOption("name");
  await expect(names).toHaveText(["alpha", "beta", "gamma"]);

  // What is made elsewhere appears, and what is deleted goes.
  await worker.put("delta", slots(1));
  await worker.acquire("delta");
  await expect(names).toHaveText(["alpha", "beta", "delta", "gamma"]);
  await fetch(`${worker.url}/v1/resources/delta`, { method: "DELETE" });
  await expect(names).toHaveText(["alpha", "beta", "gamma"]);
});

test("names and metadata of strangers are text", async ({ page, worker, home }) => {
  const name = "x[1]:y@z/../a=~+-.b";
  const metadata = {
    "<img src=x onerror=alert(1)>": "<script>alert(2)</script>",
    "javascript:": "\u202eabc",
  };
  await worker.put(name, slots(1));
  await worker.acquire(name, { metadata });
  await worker.acquire(name, { metadata });
  page.on("dialog", () => expect(false, "a dialog of the page").toBe(true));

  await page.goto(home);
  await row(page, name).getByRole("link").click();
  await expect(page).toHaveURL(resourceUrl(home, name));
  await expect(page.getByRole("region", { name: "Queue", exact: true })).toContainText(
    "<script>alert(2)</script>",
  );
  await expect(page.getByRole("region", { name: "Held", exact: true })).toContainText(
    "<img src=x onerror=alert(1)>",
  );
  expect(await page.locator("main img, main script").count()).toBe(0);
});
