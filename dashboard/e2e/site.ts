// Serves dist as a node does, and passes everything else on to the node: for a binary that was built before dist.

import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { extname, resolve } from "node:path";

const DIST = resolve(import.meta.dirname, "../dist");
const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export interface Site {
  url: string;
  close: () => Promise<void>;
}

export async function serveDist(node: () => string): Promise<Site> {
  const server = createServer((incoming, outgoing) => {
    const path = new URL(incoming.url ?? "/", "http://node").pathname;
    if (path === "/" || path.startsWith("/assets/")) {
      const file = resolve(DIST, path === "/" ? "index.html" : path.slice(1));
      readFile(file).then(
        (body) => {
          outgoing.writeHead(200, {
            "content-type": TYPES[extname(file)] ?? "text/plain",
            "content-security-policy": POLICY,
          });
          outgoing.end(body);
        },
        () => outgoing.writeHead(404).end(),
      );
      return;
    }

    const { method, headers, url } = incoming;
    const passed = request(`${node()}${url}`, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
      // A node that dies ends its streams, as it would without this in between.
      answer.on("close", () => outgoing.destroy());
    });
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    incoming.pipe(passed);
  });

  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
