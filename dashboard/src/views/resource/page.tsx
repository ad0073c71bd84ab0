// One resource: why callers wait, how full its limits are, who holds, who waits, and what was decided.

import { useEffect, useMemo, useState } from "preact/hooks";
import { cluster, readCluster } from "../../live/cluster.ts";
import { ResourceModel } from "../../live/resource.ts";
import { shownLink } from "../../ui/link-badge.tsx";
import { Empty, Problem } from "../../ui/parts.tsx";
import { count } from "../../words/format.ts";
import { queueWords } from "../../words/limits.ts";
import { Blocking } from "./blocking.tsx";
import { Charts } from "./charts.tsx";
import { DecisionList } from "./decision-list.tsx";
import { EditLimits } from "./edit-limits.tsx";
import { Holders } from "./holders.tsx";
import { LimitList } from "./limit-list.tsx";
import { QueueList } from "./queue-list.tsx";
import { UseIt } from "./use-it.tsx";

function useModel(name: string): ResourceModel {
  const model = useMemo(() => new ResourceModel(name), [name]);

  useEffect(() => {
    // Whether the node holds the resource's group decides what is asked of it.
    void (cluster.value ? Promise.resolve() : readCluster()).then(() => model.start());
    const follow = model.link.subscribe((link) => {
      shownLink.value = link;
    });
    return () => {
      follow();
      model.close();
      shownLink.value = null;
    };
  }, [model]);
  return model;
}

function Missing({ name }: { name: string }) {
  return (
    <Empty title="There is no such resource">
      <p class="break">
        <code>{name}</code> does not exist, or was deleted.
      </p>
      <p>
        <a class="button" href="#/">
          All resources
        </a>{" "}
        <a class="button primary" href="#/new">
          Create one
        </a>
      </p>
    </Empty>
  );
}

export function ResourcePage({ name }: { name: string }) {
  const model = useModel(name);
  const [editing, setEditing] = useState(false);
  const [changedAt, setChangedAt] = useState<string | null>(null);

  const resource = model.resource.value;
  const error = model.error.value;
  if (error?.missing) return <Missing name={name} />;
  if (error && !resource) return <Problem text={`${error.text} The page tries again by itself.`} />;
  if (!resource) return <p class="note">Reading the resource…</p>;

  return (
    <>
      <nav class="crumbs" aria-label="Where you are">
        <a href="#/">Overview</a>
      </nav>
      <div class="page-head">
        <h1 class="break">{resource.name}</h1>
        <p class="facts">
          {resource.placement} · version {resource.version} · since log index{" "}
          {count(resource.effective_index)}
        </p>
        <span class="grow" />
        <button type="button" class="button" onClick={() => setEditing(true)}>
          Change limits
        </button>
      </div>
      {changedAt && (
        <p class="done" role="status">
          {changedAt}
        </p>
      )}
      <div class="hero">
        <Blocking model={model} resource={resource} />
        <LimitList model={model} resource={resource} />
      </div>
      <Charts key={model.region} name={name} region={model.region} />
      <div class="pair">
        <QueueList model={model} />
        <Holders model={model} />
      </div>
      <div class="pair">
        <DecisionList model={model} />
        <UseIt resource={resource} />
      </div>
      <p class="note">{queueWords(resource)}</p>
      {editing && (
        <EditLimits
          model={model}
          resource={resource}
          onClose={() => setEditing(false)}
          onDone={setChangedAt}
        />
      )}
    </>
  );
}
