//! Stats and the cluster view.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a resource stands, and what it did in the last 10 s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceStats {
    /// Leases in line.
    pub queue_depth: u64,
    /// Their loads, summed up.
    pub queue_load: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub oldest_wait_ms: u64,
    /// Leases held.
    pub held: u64,
    /// Each limit by name.
    pub limits: BTreeMap<String, LimitStats>,
    /// Over the last 10 s.
    pub throughput: Throughput,
    /// How long those granted in the last 10 s waited, in milliseconds; `null` when none was.
    pub wait_ms: Option<Percentiles>,
}

/// How one limit stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitStats {
    /// Its quota.
    pub quota: u64,
    /// In use, rounded up.
    pub used: u64,
    /// Free, rounded down.
    pub remaining: u64,
    /// `used` as a part of the most it admits at once; above 1 while more is owed.
    pub utilization: f64,
}

/// What happened, as rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Throughput {
    /// Leases granted.
    pub granted_per_s: f64,
    /// Leases released.
    pub released_per_s: f64,
    /// Acquires refused, timed out or rejected.
    pub rejected_per_s: f64,
}

/// Percentiles of a time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: u64,
    /// Nine tenths are at most this.
    pub p90: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
}

/// The cluster as the asked node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The cluster's name.
    pub name: String,
    /// Its id, made when it was formed.
    pub cluster_id: String,
    /// Its regions by name.
    pub regions: BTreeMap<String, RegionView>,
    /// Its groups by name.
    pub groups: BTreeMap<String, GroupView>,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegionView {
    /// Its nodes.
    pub nodes: Vec<NodeView>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its id.
    pub id: u64,
    /// Where it answers.
    pub http: String,
}

/// A group, as the asked node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// The node that leads it, when one is known.
    pub leader: Option<u64>,
    /// The term of its leader.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who follows without a vote.
    pub learners: Vec<u64>,
    /// Index of the last entry in the asked node's log.
    pub last_log_index: u64,
    /// Index of the last entry that the asked node applied.
    pub applied_index: u64,
    /// How many committed entries the asked node has still to apply.
    pub lag: u64,
    /// What the whole group can do: rises when all voters can.
    pub feature_level: u32,
    /// A hash of the asked node's state at `applied_index`: equal on all nodes at the same index.
    pub digest: String,
}
