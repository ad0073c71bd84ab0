// Real nodes for the tests: each test has its own, on ports that are free, and ends only what it has started.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Site, serveDist } from "./site.ts";

const BINARY = resolve(process.env.RATEQUEUE_BINARY ?? "../target/debug/ratequeue");

export class Node {
  output = "";
  process: ChildProcess;

  constructor(
    readonly args: string[],
    public url = "",
  ) {
    this.process = this.#spawn();
  }

  #spawn(): ChildProcess {
    const child = spawn(BINARY, this.args, { stdio: ["ignore", "pipe", "pipe"] });
    const keep = (chunk: Buffer) => {
      this.output += chunk.toString();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    return child;
  }

  start(): void {
    this.output = "";
    this.process = this.#spawn();
  }

  /** Resolves once the output has what is looked for. */
  async says(what: RegExp): Promise<RegExpExecArray> {
    for (const end = Date.now() + 20_000; Date.now() < end; ) {
      const found = what.exec(this.output);
      if (found) return found;
      if (this.process.exitCode !== null) break;
      await soon();
    }
    throw new Error(`the node did not say ${what}:\n${this.output}`);
  }

  async kill(how: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const { process: child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(how);
    await ended;
  }
}

/** A short pause between two looks at a condition. */
export function soon(): Promise<void> {
  return new Promise((done) => setTimeout(done, 25));
}

export async function until<T>(look: () => Promise<T | null | undefined | false>): Promise<T> {
  let last: unknown;
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    await soon();
  }
  throw new Error(`it did not come about: ${look} ${last ?? ""}`);
}

async function freePorts(n: number): Promise<number[]> {
  const servers = Array.from({ length: n }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => new Promise((done) => server.once("listening", done))));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

export interface Cluster {
  nodes: Node[];
  /** Where the dashboard of a node is. */
  page: (node: Node) => string;
  end: () => Promise<void>;
}

/** The page comes from the node; with DASHBOARD_DIST=1 from dist, before the same node. */
async function sites(nodes: Node[]): Promise<Site[]> {
  return process.env.DASHBOARD_DIST ? Promise.all(nodes.map((node) => serveDist(() => node.url))) : [];
}

async function clusterOf(nodes: Node[], data: string): Promise<Cluster> {
  const served = await sites(nodes);
  return {
    nodes,
    page: (node) => served[nodes.indexOf(node)]?.url ?? node.url,
    end: async () => {
      await Promise.all(served.map((site) => site.close()));
      await Promise.all(nodes.map((node) => node.kill()));
      await rm(data, { recursive: true, force: true });
    },
  };
}

/** One node by itself. */
export async function oneNode(): Promise<Cluster> {
  const data = await mkdtemp(join(tmpdir(), "ratequeue-e2e-"));
  const node = new Node(["dev", "--http", "127.0.0.1:0", "--data", data]);
  node.url = (await node.says(/listens on (http:\/\/\S+?),/))[1] ?? "";
  await until(async () => (await fetch(`${node.url}/readyz`)).ok);
  return clusterOf([node], data);
}

/** Three nodes of one region, each a process of its own. */
export async function threeNodes(name = "e2e"): Promise<Cluster> {
  const data = await mkdtemp(join(tmpdir(), "ratequeue-e2e-"));
  const ports = await freePorts(6);
  const lines = [1, 2, 3].map(
    (id) => `  { id = ${id}, http = "127.0.0.1:${ports[id - 1]}", peer = "127.0.0.1:${ports[id + 2]}" },`,
  );
  const file = join(data, "cluster.toml");
  await writeFile(file, `name = "${name}"\n\n[regions.eu]\nnodes = [\n${lines.join("\n")}\n]\n`);

  const nodes = [1, 2, 3].map(
    (id) =>
      new Node(
        ["node", "--cluster", file, "--id", String(id), "--data", join(data, String(id))],
        `http://127.0.0.1:${ports[id - 1]}`,
      ),
  );
  await Promise.all(nodes.map((node) => until(async () => (await fetch(`${node.url}/startupz`)).ok)));
  const init = new Node(["cluster", "init", "--cluster", file]);
  await new Promise((done) => init.process.once("exit", done));
  if (init.process.exitCode !== 0) throw new Error(init.output);
  await Promise.all(nodes.map((node) => until(async () => (await fetch(`${node.url}/readyz`)).ok)));
  return clusterOf(nodes, data);
}
