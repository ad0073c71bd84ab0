import type { ClusterView, NodeItem } from "../../api/types.ts";
import { Empty } from "../../ui/parts.tsx";
import { newestIndexes, type Verdict, verdict } from "../../words/cluster.ts";
import { bytes, duration } from "../../words/format.ts";

function stateWords(verdict: Verdict | null): string {
  if (verdict === null) return "Known by its address";
  if (!verdict.bad) return "Healthy";
  const text = verdict.words.join("; ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

interface CardProps {
  id: number;
  region: string;
  http: string;
  verdict: Verdict | null;
  item: NodeItem | null;
  leads: string[];
}

function NodeCard({ id, region, http, verdict, item, leads }: CardProps) {
  const report = item?.report;
  return (
    <li class={`card node ${verdict?.bad ? "bad" : ""}`} data-node={id}>
      <div class="node-head">
        <span class={`dot ${verdict === null ? "" : verdict.bad ? "red" : "green"}`} aria-hidden="true" />
        <h3>Node {id}</h3>
        <span class="place">{region}</span>
      </div>
      <p class="node-state">{stateWords(verdict)}</p>
      <dl class="rows-2">
        <dt>Address</dt>
        <dd class="break">{http}</dd>
        <dt>Leads</dt>
        <dd>{leads.length ? leads.join(", ") : "–"}</dd>
        {report && (
          <>
            <dt>Version</dt>
            <dd>
              {report.version}, feature level up to {report.feature_level_max}
            </dd>
            <dt>Up for</dt>
            <dd>{duration(report.uptime_ms)}</dd>
            <dt>Disk</dt>
            <dd>
              {report.disk
                ? `${bytes(report.disk.free_bytes)} free, ${bytes(report.disk.reserve_bytes)} in reserve: ${report.disk.room}`
                : "–"}
            </dd>
          </>
        )}
      </dl>
    </li>
  );
}

function leadsOf(view: ClusterView, items: NodeItem[] | null, id: number): string[] {
  const leads = new Set<string>();
  for (const [name, group] of Object.entries(view.groups)) if (group.leader === id) leads.add(name);
  for (const item of items ?? []) {
    for (const [name, group] of Object.entries(item.report?.groups ?? {})) {
      if (group.role === "leader" && item.node === id) leads.add(name);
    }
  }
  return [...leads].sort();
}

export function NodeCards({ view, items }: { view: ClusterView; items: NodeItem[] | null }) {
  const newest = newestIndexes(view, items);
  const known = Object.values(view.regions).flatMap((region) => region.nodes);
  const all = items
    ? items.map((item) => ({
        id: item.node,
        region: item.region,
        http: item.http,
        item,
        verdict: verdict(item, newest),
      }))
    : known.map((node) => ({ ...node, item: null, verdict: null }));
  const bad = all.filter((node) => node.verdict?.bad).length;
  return (
    <section aria-label="Nodes">
      <div class="section-head">
        <h2>Nodes</h2>
        {items && (
          <span class={bad ? "warn-text" : "muted"} role="status">
            {bad ? `${bad} of ${all.length} need attention` : `all ${all.length} healthy`}
          </span>
        )}
      </div>
      {all.length === 0 && (
        <Empty title="No nodes yet">
          <p>
            Form the cluster with <code>ratequeue cluster init</code>.
          </p>
        </Empty>
      )}
      <ul class="node-grid">
        {all.map((node) => (
          <NodeCard key={node.id} {...node} leads={leadsOf(view, items, node.id)} />
        ))}
      </ul>
    </section>
  );
}
