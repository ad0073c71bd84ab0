// What is wrong with a node, in words. Everything here is pure.

import type { ClusterView, GroupView, NodeItem } from "../api/types.ts";
import { count, plural } from "./format.ts";

/** Entries that a healthy node may be behind for a moment. */
const LAG_SEEN = 100;

const ROOM: Record<string, string> = {
  low: "disk space is low",
  scarce: "disk space is scarce: it leads no group",
  gone: "no disk space is left",
};

export interface Verdict {
  bad: boolean;
  words: string[];
}

export function lagOf(group: GroupView, leaderIndex: number | null): number {
  const behind = leaderIndex === null ? 0 : Math.max(0, leaderIndex - group.applied_index);
  return Math.max(group.lag, behind);
}

/** The newest log index of each group, as far as any node has told. */
export function newestIndexes(view: ClusterView, items: NodeItem[] | null): Record<string, number> {
  const newest: Record<string, number> = {};
  const note = (groups: Record<string, GroupView>) => {
    for (const [name, group] of Object.entries(groups)) {
      newest[name] = Math.max(newest[name] ?? 0, group.applied_index);
    }
  };
  note(view.groups);
  for (const item of items ?? []) if (item.report) note(item.report.groups);
  return newest;
}

export function verdict(item: NodeItem, newest: Record<string, number>): Verdict {
  if (!item.reachable || !item.report)
    return { bad: true, words: [item.error ? `does not answer: ${item.error}` : "does not answer"] };
  const words: string[] = [];
  if (!item.report.ready) words.push("not ready");
  const room = item.report.disk && ROOM[item.report.disk.room];
  if (room) words.push(room);

  for (const [name, group] of Object.entries(item.report.groups)) {
    const lag = lagOf(group, newest[name] ?? null);
    if (lag >= LAG_SEEN) words.push(`${plural(lag, "entry", "entries")} behind in ${name}`);
    if (group.leader == null) words.push(`knows no leader of ${name}`);
  }
  return { bad: words.length > 0, words };
}

export function membersWords(group: GroupView): string {
  const voters = `${plural(group.voters.length, "voter")}: ${group.voters.map((n) => count(n)).join(", ")}`;
  return group.learners.length ? `${voters}; learners: ${group.learners.join(", ")}` : voters;
}
