// What the server says, as far as the dashboard reads it. docs/openapi.json has all of it.

export type Load = number | Record<string, number>;

export interface Limit {
  kind: "rate" | "concurrency";
  quota: number;
  window_ms?: number | null;
  algorithm?: "sliding_window" | "token_bucket" | null;
  burst?: number | null;
  cost?: string | null;
}

export interface Resource {
  name: string;
  placement: string;
  limits: Record<string, Limit>;
  queue: { max_waiting: number; max_wait_ms: number; claim_ms: number };
  lease: { default_ttl_ms: number; max_ttl_ms: number };
  version: number;
  effective_index: number;
}

export interface LimitStats {
  quota: number;
  used: number;
  remaining: number;
  utilization: number;
  capacity?: number;
}

export interface Head {
  id: string;
  load: Load;
  priority: number;
  waited_ms: number;
  violated: string[];
  needs: Record<string, number>;
  fits_in_ms: number | null;
  fits_at_release: boolean;
}

export interface ResourceStats {
  queue_depth: number;
  queue_load: number;
  oldest_wait_ms: number;
  held: number;
  limits: Record<string, LimitStats>;
  head?: Head | null;
}

export interface Lease {
  id: string;
  resource: string;
  state: string;
  position?: number | null;
  load_ahead?: number | null;
  retry_after_ms?: number | null;
  fencing_token?: number | null;
  expires_in_ms?: number | null;
  waited_ms?: number | null;
  log_index?: number | null;
  load?: Load | null;
  priority?: number | null;
  metadata?: Record<string, string> | null;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  unreachable?: string[];
}

export type Column = (number | null)[];

export interface Series {
  group?: string;
  queue_depth: Column;
  held: Column;
  granted: Column;
  released: Column;
  rejected: Column;
  expired: Column;
  wait_p50_ms: Column;
  wait_p99_ms: Column;
  utilization?: Record<string, Column>;
}

export interface StatsRange {
  step_ms: number;
  end_ms: number;
  since_ms: number;
  index: Record<string, number>;
  resources: Record<string, Series>;
  total: Series;
}

export type EventKind =
  | "queued"
  | "granted"
  | "released"
  | "expired"
  | "lapsed"
  | "cancelled"
  | "timed_out"
  | "rejected"
  | "limit_changed"
  | "deleted"
  | "leader_changed";

export interface LogEvent {
  kind: EventKind;
  group: string;
  log_index: number;
  ordinal: number;
  at_ms: number;
  resource?: string;
  queue_depth?: number;
  held?: number;
  id?: string;
  load?: Load;
  priority?: number;
  fencing_token?: number;
  waited_ms?: number;
  reason?: string;
  version?: number;
  leader?: number | null;
  term?: number;
}

export interface GroupView {
  role: string;
  leader?: number | null;
  term: number;
  voters: number[];
  learners: number[];
  last_log_index: number;
  applied_index: number;
  lag: number;
  feature_level: number;
  digest?: string;
  followers?: Record<string, { lag: number; matched_index?: number | null }>;
  leader_changes?: number;
  log_bytes?: number;
  checkpoint_bytes?: number;
  checkpoint_age_ms?: number | null;
}

export interface NodeView {
  id: number;
  region: string;
  http: string;
  peer: string;
}

export interface ClusterView {
  name: string;
  cluster_id?: string | null;
  node: number;
  regions: Record<string, { reachable: boolean; round_trip_ms?: number | null; nodes: NodeView[] }>;
  groups: Record<string, GroupView>;
}

export interface NodeReport {
  version: string;
  uptime_ms: number;
  ready: boolean;
  feature_level_max: number;
  disk: { free_bytes: number; reserve_bytes: number; room: string } | null;
  groups: Record<string, GroupView>;
}

export interface NodeItem {
  node: number;
  region: string;
  http: string;
  peer: string;
  reachable: boolean;
  error: string | null;
  report: NodeReport | null;
}

export interface Problem {
  status: number;
  code: string;
  title: string;
  detail: string;
}
