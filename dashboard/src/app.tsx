import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { keyVersion } from "./api/client.ts";
import { cluster } from "./live/cluster.ts";
import { type Route, route } from "./router.ts";
import { KeyBanner, KeyDialog } from "./ui/key-dialog.tsx";
import { LinkBadge, LostBanner } from "./ui/link-badge.tsx";
import { Empty } from "./ui/parts.tsx";
import { chooseTheme, type Theme, theme } from "./ui/theme.ts";
import { ClusterPage } from "./views/cluster/page.tsx";
import { CreatePage } from "./views/create/page.tsx";
import { OverviewPage } from "./views/overview/page.tsx";
import { ResourcePage } from "./views/resource/page.tsx";

function NavLink({ to, on, children }: { to: string; on: boolean; children: ComponentChildren }) {
  return (
    <a href={to} aria-current={on ? "page" : undefined}>
      {children}
    </a>
  );
}

const THEMES: Record<Theme, string> = { system: "System", light: "Light", dark: "Dark" };

function ThemeSwitch() {
  return (
    <label class="theme">
      <span class="sr">Colours</span>
      <select value={theme.value} onChange={(event) => chooseTheme(event.currentTarget.value as Theme)}>
        {Object.entries(THEMES).map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

function Header({ view }: { view: Route["view"] }) {
  return (
    <header class="top">
      <div class="top-in">
        <a class="brand" href="#/" aria-label="RateQueue: overview">
          <span class="mark" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          <span class="brand-name">RateQueue</span>
        </a>
        <nav aria-label="Views">
          <NavLink to="#/" on={view === "overview" || view === "resource"}>
            Overview
          </NavLink>
          <NavLink to="#/cluster" on={view === "cluster"}>
            Cluster
          </NavLink>
          <NavLink to="#/new" on={view === "new"}>
            New
          </NavLink>
        </nav>
        <span class="grow" />
        {cluster.value && <span class="cluster-name">{cluster.value.name}</span>}
        <LinkBadge />
        <ThemeSwitch />
      </div>
    </header>
  );
}

function View({ of }: { of: Route }) {
  // Another key begins everything anew, so that what was refused is read.
  const key = keyVersion.value;
  switch (of.view) {
    case "overview":
      return <OverviewPage key={key} />;
    case "resource":
      return <ResourcePage key={`${of.name}@${key}`} name={of.name} />;
    case "cluster":
      return <ClusterPage key={key} />;
    case "new":
      return <CreatePage />;
    case "unknown":
      return (
        <Empty title="There is no such page">
          <p>
            Go to the <a href="#/">overview</a>.
          </p>
        </Empty>
      );
  }
}

function title(of: Route): string {
  const names = { overview: "Overview", cluster: "Cluster", new: "New resource", unknown: "Not found" };
  return `${of.view === "resource" ? of.name : names[of.view]} · RateQueue`;
}

export function App() {
  const main = useRef<HTMLElement>(null);
  const shown = route.value;
  const first = useRef(true);

  // Readers of the screen and the keyboard begin at the new view.
  useEffect(() => {
    document.title = title(shown);
    if (first.current) first.current = false;
    else main.current?.focus({ preventScroll: true });
  }, [shown]);

  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Header view={shown.view} />
      <LostBanner />
      <KeyBanner />
      <main ref={main} id="main" tabIndex={-1}>
        <View of={shown} />
      </main>
      <KeyDialog />
    </>
  );
}
