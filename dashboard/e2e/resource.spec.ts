import { perMinute, slots } from "./client.ts";
import { expect, live, resourceUrl, test } from "./fixtures.ts";

test("what blocks: a rate that is full", async ({ page, worker, home }) => {
  await worker.put("llm", { ...perMinute("tpm", 90_000), ...perMinute("rpm", 500, "one") });
  await worker.acquire("llm", { load: 89_400 });
  await worker.acquire("llm", { load: 2_000 });
  await page.goto(resourceUrl(home, "llm"));
  await expect(page.getByTestId("blocks")).toHaveText(
    /^tpm is full: 89,4\d\d of 90,000 used, 2,000 needed by the head, fits in (1 min|\d+ s)\.$/,
  );
  await expect(page.locator('[data-limit="rpm"]')).toContainText("1 of 500 used");
});

test("what blocks: concurrency that is full, and the next release", async ({ page, worker, home }) => {
  await worker.put("render", slots(2));
  const first = await worker.acquire("render");
  await worker.acquire("render");
  await worker.acquire("render");
  await page.goto(resourceUrl(home, "render"));
  await live(page);
  const blocks = page.getByTestId("blocks");
  await expect(blocks).toHaveText("slots is full: 2 of 2 held; the next release lets the head through.");

  await worker.release(first.id);
  await expect(blocks).toHaveText("slots is full, and nobody waits: the next acquire will wait.");
  const decisions = page.getByRole("region", { name: "Recent decisions", exact: true });
  await expect(decisions).toContainText("released");
  await expect(decisions).toContainText("granted");
});

test("why each lease waits: the head, those behind it, and a higher priority", async ({
  page,
  worker,
  home,
}) => {
  await worker.put("q", slots(1));
  await worker.acquire("q");
  await worker.acquire("q", { priority: 5 });
  await worker.acquire("q", { priority: 5 });
  await page.goto(resourceUrl(home, "q"));
  const why = page.getByRole("region", { name: "Waiting leases" }).locator(".why");
  await expect(why).toHaveText(["first: waits for slots", "behind the head"]);

  await worker.acquire("q", { priority: 0 });
  await expect(why).toHaveText([
    "first: waits for slots",
    "behind 1 lease of a higher priority",
    "behind 1 lease of a higher priority and 1 that came earlier",
  ]);
});

test("cancel a waiting lease and revoke a held one, both after a question", async ({
  page,
  worker,
  home,
}) => {
  await worker.put("q", slots(1));
  await worker.acquire("q");
  await worker.acquire("q");
  await worker.acquire("q");
  await page.goto(resourceUrl(home, "q"));
  const waiting = page.getByRole("region", { name: "Waiting leases" }).locator("tbody tr");
  await expect(waiting).toHaveCount(2);

  await waiting.last().getByRole("button").click();
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(waiting).toHaveCount(2);
  await waiting.last().getByRole("button").click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the lease" }).click();
  await expect(waiting).toHaveCount(1);

  await page.getByRole("region", { name: "Held leases" }).getByRole("button").click();
  await expect(page.getByRole("dialog")).toContainText("may go on");
  await page.getByRole("dialog").getByRole("button", { name: "Revoke the lease" }).click();
  await expect(page.getByText("The queue is empty")).toBeVisible();
  await expect(page.locator('.figures [data-figure="held"]')).toHaveText("1");
});

test("a change that meets another is refused, and can be made again", async ({ page, worker, home }) => {
  await worker.put("q", slots(1));
  await page.goto(resourceUrl(home, "q"));
  await page.getByRole("button", { name: "Change limits" }).click();
  await page.getByLabel("At once").fill("7");
  await worker.put("q", slots(3));
  await page.getByRole("button", { name: "Apply" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toContainText("Somebody else has changed it");
  await expect(page.locator(".preview")).toContainText("3 at once → 7 at once");
  await page.getByRole("button", { name: "Apply" }).click();
  await expect(page.locator(".done")).toContainText("Version 3 took effect");
});

test("history: charts say their newest figures as text", async ({ page, worker, home }) => {
  await worker.put("q", slots(2));
  for (let i = 0; i < 5; i++) await worker.acquire("q");
  await page.goto(resourceUrl(home, "q"));
  const queue = page.getByRole("group", { name: "Queue" });
  await expect(queue.locator(".legend")).toHaveText(/waiting 3.*held 2/);
  await expect(page.getByRole("group", { name: "Fill of limits" }).locator(".legend")).toContainText(
    "slots 100%",
  );
  await page.getByText("1 h", { exact: true }).click();
  await expect(page.getByRole("group", { name: "Throughput" }).locator("canvas")).toBeVisible();
});

test("what does not exist says what to do", async ({ page, home }) => {
  await page.goto(resourceUrl(home, "no/such"));
  await expect(page.getByText("There is no such resource")).toBeVisible();
  await expect(page.getByRole("link", { name: "Create one" })).toBeVisible();
});
