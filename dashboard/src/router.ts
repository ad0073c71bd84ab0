// Views by the part of the address after `#`, so that the server has one page only.

import { signal } from "@preact/signals";

export type Route =
  | { view: "overview" }
  | { view: "resource"; name: string }
  | { view: "cluster" }
  | { view: "new" }
  | { view: "unknown"; path: string };

export function parseRoute(hash: string): Route {
  const path = hash.replace(/^#/, "").replace(/\?.*$/, "") || "/";
  if (path === "/") return { view: "overview" };
  if (path === "/cluster") return { view: "cluster" };
  if (path === "/new") return { view: "new" };
  if (path.startsWith("/r/") && path.length > 3) {
    try {
      return { view: "resource", name: decodeURIComponent(path.slice(3)) };
    } catch {
      return { view: "unknown", path };
    }
  }
  return { view: "unknown", path };
}

export function resourceHref(name: string): string {
  return `#/r/${encodeURIComponent(name)}`;
}

export const route = signal<Route>({ view: "overview" });

export function startRouter(): void {
  const read = () => {
    route.value = parseRoute(location.hash);
    scrollTo(0, 0);
  };
  addEventListener("hashchange", read);
  read();
}
