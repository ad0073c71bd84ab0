import type { Resource } from "../../api/types.ts";
import type { ResourceModel } from "../../live/resource.ts";
import { Meter } from "../../ui/parts.tsx";
import { capacity } from "../../words/blocks.ts";
import { count } from "../../words/format.ts";
import { costWords, limitWords } from "../../words/limits.ts";

export function LimitList({ model, resource }: { model: ResourceModel; resource: Resource }) {
  const stats = model.snapshot.value?.stats;
  return (
    <section class="card limits" aria-label="Limits">
      <h2>Limits</h2>
      <ul>
        {Object.entries(resource.limits).map(([name, limit]) => {
          const now = stats?.limits[name];
          const most = now ? capacity(now, limit) : (limit.burst ?? limit.quota);
          return (
            <li key={name} data-limit={name}>
              <div class="limit-head">
                <code>{name}</code>
                <span class="limit-words" title={costWords(limit)}>
                  {limitWords(limit)}
                </span>
              </div>
              <div class="limit-use">
                <span>
                  <b class="num">{count(now?.used)}</b> of {count(most)}{" "}
                  {limit.kind === "rate" ? "used" : "held"}
                </span>
                <span class="muted">{count(now?.remaining)} left</span>
              </div>
              <Meter ratio={now ? now.used / Math.max(1, most) : null} />
            </li>
          );
        })}
      </ul>
    </section>
  );
}
