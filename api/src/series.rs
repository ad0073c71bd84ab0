//! How resources stood and what they did, over time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Series over one range of time: all have as many buckets, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatsSeries {
    /// Milliseconds of a bucket.
    pub step_ms: u64,
    /// When the last bucket ended, in milliseconds since 1970 by the clock of the asked node as it
    /// was at its start.
    pub end_ms: u64,
    /// Since when the asked node knows; buckets before are `null`.
    pub since_ms: u64,
    /// For each group the log entry that the asked node had applied.
    pub index: BTreeMap<String, u64>,
    /// By resource.
    pub resources: BTreeMap<String, ResourceSeries>,
    /// Of all resources of these groups together: what they did, and how many wait for those that
    /// are followed, and hold them.
    pub total: ResourceSeries,
}

/// The series of a resource. A bucket of which nothing is known is `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceSeries {
    /// The group that decides the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Leases in the queue at the end of each bucket.
    pub queue_depth: Vec<Option<u32>>,
    /// Leases held at the end of each bucket.
    pub held: Vec<Option<u32>>,
    /// Leases granted in each bucket.
    pub granted: Vec<Option<u32>>,
    /// Leases released.
    pub released: Vec<Option<u32>>,
    /// Acquires refused, timed out or rejected.
    pub rejected: Vec<Option<u32>>,
    /// Leases expired.
    pub expired: Vec<Option<u32>>,
    /// Half of those granted in a bucket waited at most so many milliseconds.
    pub wait_p50_ms: Vec<Option<u32>>,
    /// 99 of 100 waited at most so many.
    pub wait_p99_ms: Vec<Option<u32>>,
    /// For each limit what was in use at the end of each bucket, as a part of the most that it
    /// admits at once, in thousandths rounded up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub utilization: BTreeMap<String, Vec<Option<f64>>>,
}
