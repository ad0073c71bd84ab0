// Events in words. Everything here is pure.

import type { EventKind, LogEvent } from "../api/types.ts";
import { count, duration, load } from "./format.ts";

export function toneOf(kind: EventKind): "good" | "bad" | "warm" | "plain" {
  switch (kind) {
    case "granted":
      return "good";
    case "rejected":
    case "timed_out":
    case "expired":
    case "lapsed":
    case "deleted":
      return "bad";
    case "queued":
      return "warm";
    default:
      return "plain";
  }
}

export function decisionWords(event: LogEvent): string {
  const weighs = event.load === undefined ? [] : [`load ${load(event.load)}`];
  switch (event.kind) {
    case "granted":
      return [
        ...weighs,
        event.waited_ms ? `after ${duration(event.waited_ms)}` : "at once",
        `token ${count(event.fencing_token)}`,
      ].join(", ");
    case "queued":
      return [...weighs, `priority ${event.priority}`].join(", ");
    case "rejected":
      return [...weighs, event.reason ?? ""].filter(Boolean).join(", ");
    case "limit_changed":
      return `version ${count(event.version)}, at log index ${event.log_index}`;
    case "leader_changed":
      return event.leader == null ? "no leader" : `node ${event.leader} leads, term ${count(event.term)}`;
    default:
      return weighs.join(", ");
  }
}
