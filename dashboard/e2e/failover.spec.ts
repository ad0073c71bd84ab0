import { slots, Worker } from "./client.ts";
import { expect, live, row, test } from "./fixtures.ts";
import { type Node, threeNodes, until } from "./node.ts";

interface View {
  groups: Record<string, { leader: number | null }>;
}

async function leaderOf(node: Node): Promise<number | null> {
  const view = (await (await fetch(`${node.url}/v1/cluster`)).json()) as View;
  return view.groups.eu?.leader ?? null;
}

async function depthAt(node: Node, name: string): Promise<number> {
  const stats = (await (await fetch(`${node.url}/v1/resources/${name}/stats`)).json()) as {
    queue_depth: number;
  };
  return stats.queue_depth;
}

// The fixture's node is not asked for: these tests have three of their own.
test("a leader dies, and the page goes on by itself; its own node dies and comes back", async ({ page }) => {
  test.setTimeout(60_000);
  const cluster = await threeNodes();
  try {
    const [first] = cluster.nodes as [Node];
    const leader = await until(() => leaderOf(first));
    const dying = cluster.nodes[leader - 1] as Node;
    const serving = cluster.nodes.find((node) => node !== dying) as Node;
    const worker = new Worker(serving.url);
    await worker.put("render", slots(1));
    await worker.acquire("render");
    await worker.acquire("render");

    await page.goto(cluster.page(serving));
    await live(page);
    const depth = row(page, "render").locator('[data-figure="depth"]');
    await worker.acquire("render");
    await expect(depth).toHaveText("2");

    await dying.kill();
    await until(async () => ((await leaderOf(serving)) ?? leader) !== leader);
    await until(() => worker.acquire("render"));
    await expect(depth).toHaveText(/^[3-9]$/);
    await live(page);
    await expect(page.getByRole("button", { name: "eu" })).not.toContainText(`led by node ${leader}`);

    await page.getByRole("link", { name: "Cluster" }).click();
    await expect(page.locator(`[data-node="${leader}"]`)).toHaveClass(/bad/);
    await page.getByRole("link", { name: "Overview", exact: true }).click();

    // Now the node that serves the page; the dead one is back before, so that there is a majority.
    dying.start();
    await until(async () => (await fetch(`${dying.url}/readyz`)).ok);
    await live(page);
    await serving.kill();
    await expect(page.locator(".banner")).toContainText("Connection lost");
    serving.start();
    await until(async () => (await fetch(`${serving.url}/readyz`)).ok);
    await live(page);
    await until(() => worker.acquire("render"));
    // Places of callers that are silent are given up meanwhile, so the node says how many wait.
    const agrees = async () => (await depth.textContent()) === String(await depthAt(serving, "render"));
    await expect.poll(agrees).toBe(true);
    await expect(page.locator(".banner")).toHaveCount(0);
  } finally {
    await cluster.end();
  }
});
