// Regions with their nodes and leaders. Choosing one shows its resources only.

import type { ClusterView, NodeItem } from "../../api/types.ts";
import { cluster, nodes } from "../../live/cluster.ts";
import type { Overview } from "../../live/overview.ts";
import { duration, plural } from "../../words/format.ts";

interface Card {
  name: string;
  lines: string[];
  bad: boolean;
}

/** Who leads a group: as this node knows, else as a member of it has told. Undefined: nobody has told. */
function leaderOf(view: ClusterView, items: NodeItem[], group: string): number | null | undefined {
  const own = view.groups[group];
  if (own) return own.leader ?? null;
  const told = items.flatMap((item) => item.report?.groups[group]?.leader ?? []);
  return told[0];
}

function leaderWords(leader: number | null | undefined): string {
  if (leader === undefined) return "";
  return leader === null ? "no leader" : `led by node ${leader}`;
}

function cards(view: ClusterView, items: NodeItem[]): Card[] {
  const regions = Object.entries(view.regions).map(([name, region]): Card => {
    const far = region.round_trip_ms == null ? "" : `${duration(region.round_trip_ms)} away`;
    const leader = leaderOf(view, items, name);
    const down = items.filter((item) => item.region === name && !item.reachable).length;
    const nodes = plural(region.nodes.length, "node");
    const lines = [down ? `${down} of ${nodes} down` : nodes, leaderWords(leader), far].filter(Boolean);
    const lost = !region.reachable || leader === null || down > 0;
    return { name, lines: region.reachable ? lines : ["does not answer", ...lines], bad: lost };
  });
  const global = view.groups.global;
  if (!global || regions.length < 2) return regions;
  const words = [plural(global.voters.length, "voter"), leaderWords(global.leader ?? null)];
  return [...regions, { name: "global", lines: words, bad: global.leader == null }];
}

interface Props {
  overview: Overview;
  chosen: string;
  onChoose: (name: string) => void;
}

export function Regions({ chosen, onChoose }: Props) {
  const view = cluster.value;
  if (!view) return <div class="regions placeholder" />;
  return (
    <section class="regions" aria-label="Regions">
      {cards(view, nodes.value ?? []).map((card) => (
        <button
          type="button"
          key={card.name}
          class={`region ${card.bad ? "bad" : ""}`}
          aria-pressed={chosen === card.name}
          onClick={() => onChoose(chosen === card.name ? "" : card.name)}
        >
          <span class="region-name">
            <span class={`dot ${card.bad ? "red" : "green"}`} aria-hidden="true" />
            {card.name}
          </span>
          <span class="region-lines">{card.lines.join(" · ")}</span>
        </button>
      ))}
    </section>
  );
}
