import { clock } from "../../live/clock.ts";
import type { Overview } from "../../live/overview.ts";
import { tick } from "../../live/ticker.ts";
import { compact, rate } from "../../words/format.ts";

/** The sums over the rows that are known. */
export function Totals({ overview, region }: { overview: Overview; region: string }) {
  tick.value;
  const second = Math.floor(clock.now() / 1_000);
  const known = !overview.loading.value || overview.board.rows.size > 0;
  let resources = 0;
  let waiting = 0;
  let held = 0;
  let granted = 0;
  for (const row of overview.board.rows.values()) {
    if (region && row.placement !== region) continue;
    resources += 1;
    waiting += row.depth ?? 0;
    held += row.held ?? 0;
    granted += row.rate(second) ?? 0;
  }

  return (
    <dl class="totals">
      <div>
        <dt>Resources</dt>
        <dd data-total="resources">{compact(known ? resources : null)}</dd>
      </div>
      <div class={waiting > 0 ? "warm" : ""}>
        <dt>Waiting</dt>
        <dd data-total="waiting">{compact(known ? waiting : null)}</dd>
      </div>
      <div>
        <dt>Held</dt>
        <dd data-total="held">{compact(known ? held : null)}</dd>
      </div>
      <div>
        <dt>Granted</dt>
        <dd data-total="granted">{rate(known ? granted : null)}</dd>
      </div>
    </dl>
  );
}
