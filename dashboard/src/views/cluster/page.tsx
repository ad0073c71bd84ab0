// Nodes and groups: who leads, who is behind, and how much room there is.

import { useEffect } from "preact/hooks";
import { cluster, clusterError, nodes, watchCluster } from "../../live/cluster.ts";
import { Problem } from "../../ui/parts.tsx";
import { Groups } from "./groups.tsx";
import { NodeCards } from "./nodes.tsx";

export function ClusterPage() {
  useEffect(() => watchCluster(3_000, true), []);
  const view = cluster.value;
  const error = clusterError.value;
  return (
    <>
      <div class="page-head">
        <h1>Cluster</h1>
        {view && (
          <p class="facts">
            {view.name}
            {view.cluster_id && <code class="cluster-id">{view.cluster_id}</code>} as node {view.node} sees it
          </p>
        )}
      </div>
      {error && <Problem text={error} />}
      {view && <NodeCards view={view} items={nodes.value} />}
      {view && <Groups view={view} items={nodes.value} />}
    </>
  );
}
