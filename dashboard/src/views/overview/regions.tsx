// Regions with their nodes and leaders. Choosing one shows its resources only.

import type { ClusterView } from "../../api/types.ts";
import { cluster } from "../../live/cluster.ts";
import type { Overview } from "../../live/overview.ts";
import { duration, plural } from "../../words/format.ts";

interface Card {
  name: string;
  lines: string[];
  bad: boolean;
}

function leaderWords(view: ClusterView, group: string): string {
  const known = view.groups[group];
  // Of another region's group this node knows no leader.
  if (!known) return "";
  return known.leader == null ? "no leader" : `led by node ${known.leader}`;
}

function cards(view: ClusterView): Card[] {
  const regions = Object.entries(view.regions).map(([name, region]): Card => {
    const far = region.round_trip_ms == null ? "" : `${duration(region.round_trip_ms)} away`;
    const lines = [plural(region.nodes.length, "node"), leaderWords(view, name), far].filter(Boolean);
    const lost = !region.reachable || view.groups[name]?.leader === null;
    return { name, lines: region.reachable ? lines : ["does not answer", ...lines], bad: lost };
  });
  const global = view.groups.global;
  if (!global || regions.length < 2) return regions;
  const words = [plural(global.voters.length, "voter"), leaderWords(view, "global")];
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
      {cards(view).map((card) => (
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
