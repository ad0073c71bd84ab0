//! Stats.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lease::Load;

/// How a resource stands, and what it did in the last 10 s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceStats {
    /// Leases in the queue.
    pub queue_depth: u64,
    /// Their loads, summed up.
    pub queue_load: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub oldest_wait_ms: u64,
    /// Leases held.
    pub held: u64,
    /// Each limit by name.
    pub limits: BTreeMap<String, LimitStats>,
    /// The first in the queue, and what it waits for; `null` when nobody waits.
    #[serde(default)]
    pub head: Option<QueueHead>,
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
    /// The most it admits at once: the burst of a token bucket, otherwise the quota.
    #[serde(default)]
    pub capacity: u64,
    /// In use, rounded up.
    pub used: u64,
    /// Free, rounded down.
    pub remaining: u64,
    /// `used` as a part of the most it admits at once; above 1 while more is owed.
    pub utilization: f64,
}

/// The first in a queue, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueHead {
    /// The lease.
    pub id: String,
    /// Its load.
    pub load: Load,
    /// Its priority.
    pub priority: u8,
    /// How long it has waited, in milliseconds.
    pub waited_ms: u64,
    /// The limits that it does not fit under now.
    pub violated: Vec<String>,
    /// What it needs of each limit; zeros are left out.
    pub needs: BTreeMap<String, u64>,
    /// When it fits if nothing else happens, in milliseconds; `null` when only a release makes it
    /// fit.
    pub fits_in_ms: Option<u64>,
    /// Only a release makes it fit.
    pub fits_at_release: bool,
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
