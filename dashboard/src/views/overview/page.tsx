// Everything at a glance: regions, then every resource, the hottest first.

import { useEffect, useMemo, useState } from "preact/hooks";
import { cluster, watchCluster } from "../../live/cluster.ts";
import type { Filter, Sort, State } from "../../live/order.ts";
import { Overview } from "../../live/overview.ts";
import { shownLink } from "../../ui/link-badge.tsx";
import { Problem } from "../../ui/parts.tsx";
import { FirstSteps } from "./first-steps.tsx";
import { Regions } from "./regions.tsx";
import { Table } from "./table.tsx";
import { Toolbar } from "./toolbar.tsx";
import { Totals } from "./totals.tsx";

// A visit to a resource and back finds the list as it was.
let remembered: { filter: Filter; sort: Sort } = {
  filter: { text: "", region: "", state: "all" as State },
  sort: "hottest",
};

export function OverviewPage() {
  const [filter, setFilter] = useState(remembered.filter);
  const [sort, setSort] = useState(remembered.sort);
  remembered = { filter, sort };

  // The node streams its own groups; those of another region have to be asked for.
  const groups = cluster.value?.groups;
  const elsewhere = filter.region !== "" && groups !== undefined && !(filter.region in groups);
  const region = elsewhere ? filter.region : "";
  const overview = useMemo(() => new Overview(region), [region]);

  useEffect(() => {
    const stop = watchCluster(15_000, true);
    return stop;
  }, []);

  useEffect(() => {
    overview.start();
    const follow = overview.link.subscribe((link) => {
      shownLink.value = link;
    });
    return () => {
      follow();
      overview.close();
      shownLink.value = null;
    };
  }, [overview]);

  const loading = overview.loading.value;
  const error = overview.error.value;
  const waiting = loading && overview.board.rows.size === 0;
  const empty = !loading && !error && overview.board.rows.size === 0;

  return (
    <>
      <div class="page-head">
        <h1>Overview</h1>
        <Totals overview={overview} region={filter.region} />
      </div>
      <Regions
        overview={overview}
        chosen={filter.region}
        onChoose={(name) => setFilter({ ...filter, region: name })}
      />
      {error && <Problem text={error} />}
      {overview.unreachable.value.length > 0 && (
        <p class="note">
          The resources of {overview.unreachable.value.join(", ")} may be missing: the region does not answer.
        </p>
      )}
      {empty && <FirstSteps />}
      {waiting && <p class="note">Reading the resources…</p>}
      {!empty && !waiting && (
        <>
          <Toolbar filter={filter} sort={sort} onFilter={setFilter} onSort={setSort} />
          <Table overview={overview} filter={filter} sort={sort} loading={loading} />
        </>
      )}
    </>
  );
}
