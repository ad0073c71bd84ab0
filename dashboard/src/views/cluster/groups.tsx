// Each group as a table of its members: what each node tells of itself, side by side.

import type { ClusterView, GroupView, NodeItem } from "../../api/types.ts";
import { lagOf, membersWords, newestIndexes } from "../../words/cluster.ts";
import { bytes, count, duration } from "../../words/format.ts";

interface Member {
  node: number;
  group: GroupView | null;
}

function membersOf(name: string, view: ClusterView, items: NodeItem[] | null): Member[] {
  const own = view.groups[name];
  const reports = new Map((items ?? []).map((item) => [item.node, item.report?.groups[name] ?? null]));
  const sample = own ?? [...reports.values()].find((group) => group !== null);
  const ids = new Set([...(sample?.voters ?? []), ...(sample?.learners ?? [])]);
  return [...ids]
    .sort((a, b) => a - b)
    .map((node) => ({ node, group: reports.get(node) ?? (node === view.node ? (own ?? null) : null) }));
}

/** What the leader knows of a member that tells nothing itself. */
function followerLag(members: Member[], node: number): number | null {
  const leader = members.find((member) => member.group?.role === "leader")?.group;
  return leader?.followers?.[String(node)]?.lag ?? null;
}

function MemberRow({
  member,
  members,
  newest,
}: {
  member: Member;
  members: Member[];
  newest: number | null;
}) {
  const { group, node } = member;
  const lag = group ? lagOf(group, newest) : followerLag(members, node);
  return (
    <tr class={group ? "" : "gone"}>
      <th scope="row">Node {node}</th>
      <td>
        <span class={`tone ${group?.role === "leader" ? "good" : group ? "plain" : "bad"}`}>
          {group?.role ?? "no answer"}
        </span>
      </td>
      <td class="right num">{count(group?.term)}</td>
      <td class="right num">{count(group?.applied_index)}</td>
      <td class={`right num ${(lag ?? 0) >= 100 ? "warn-text" : ""}`}>{count(lag)}</td>
      <td class="right num">{count(group?.leader_changes)}</td>
      <td class="right num">{bytes(group?.log_bytes)}</td>
      <td class="right num">
        {bytes(group?.checkpoint_bytes)}
        {group?.checkpoint_age_ms != null && <span class="why">{duration(group.checkpoint_age_ms)} old</span>}
      </td>
      <td class="right num">{count(group?.feature_level)}</td>
    </tr>
  );
}

function Group({ name, view, items }: { name: string; view: ClusterView; items: NodeItem[] | null }) {
  const members = membersOf(name, view, items);
  const sample = view.groups[name] ?? members.find((member) => member.group)?.group;
  const newest = newestIndexes(view, items)[name] ?? null;
  if (!sample) return null;
  return (
    <section class="card list group" aria-label={`Group ${name}`}>
      <div class="section-head">
        <h3>{name}</h3>
        <span class={sample.leader == null ? "warn-text" : "muted"} data-leader={sample.leader ?? ""}>
          {sample.leader == null ? "no leader" : `led by node ${sample.leader}`}, term {count(sample.term)}
        </span>
        <span class="muted">{membersWords(sample)}</span>
      </div>
      <div class="scroll flat" tabIndex={0} role="region" aria-label={`Members of ${name}`}>
        <table>
          <thead>
            <tr>
              <th>Member</th>
              <th>Role</th>
              <th class="right">Term</th>
              <th class="right">Applied</th>
              <th class="right">Behind</th>
              <th class="right">Leader changes</th>
              <th class="right">Log</th>
              <th class="right">Checkpoint</th>
              <th class="right">Level</th>
            </tr>
          </thead>
          <tbody>
            {members.map((member) => (
              <MemberRow key={member.node} member={member} members={members} newest={newest} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Groups({ view, items }: { view: ClusterView; items: NodeItem[] | null }) {
  const names = new Set(Object.keys(view.groups));
  for (const item of items ?? []) for (const name of Object.keys(item.report?.groups ?? {})) names.add(name);
  return (
    <section aria-label="Groups">
      <h2>Groups</h2>
      {[...names]
        .sort((a, b) => Number(a === "global") - Number(b === "global") || (a < b ? -1 : 1))
        .map((name) => (
          <Group key={name} name={name} view={view} items={items} />
        ))}
    </section>
  );
}
