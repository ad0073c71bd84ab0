//! Commands: what enters the log. Reads are methods of [`crate::State`] and cannot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::lease_id::LeaseId;
use crate::load::Load;
use crate::name::{RequestId, ResourceName};
use crate::spec::{ResourcePatch, ResourceSpec};

/// One command. Deciding it always gives an [`crate::Outcome`]; it cannot fail otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates or replaces a resource.
    PutResource(PutResource),
    /// Changes a resource.
    PatchResource(PatchResource),
    /// Deletes a resource.
    DeleteResource(DeleteResource),
    /// Asks for a lease.
    Acquire(Acquire),
    /// Ends a held lease, or gives a place in line up.
    Release(Release),
    /// Gives a held lease a new deadline.
    Extend(Extend),
    /// Says that somebody still waits for these leases.
    Keepalive(Keepalive),
    /// Lets time pass: expires, times out and grants what is due.
    Tick,
}

/// Which version of a resource a change is meant for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Any, or none.
    #[default]
    Any,
    /// The resource must not exist (`If-None-Match: *`).
    Absent,
    /// The resource must exist (`If-Match: *`).
    Present,
    /// The resource must have this version (`If-Match: "7"`).
    Version(u64),
}

/// Creates or replaces a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutResource {
    /// Repeating it repeats the answer.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// What it shall be.
    pub spec: ResourceSpec,
    /// When this is allowed.
    pub condition: Condition,
}

/// Changes a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchResource {
    /// Repeating it repeats the answer.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// The change.
    pub patch: ResourcePatch,
    /// When this is allowed.
    pub condition: Condition,
}

/// Deletes a resource: its waiting leases end, its held ones are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteResource {
    /// Repeating it repeats the answer.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// When this is allowed.
    pub condition: Condition,
}

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Repeating it with the same fields means the same lease.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// How much.
    pub load: Load,
    /// 0 (first) to 9 (last).
    pub priority: u8,
    /// How long to wait in line, 0 ms (not at all) to 31 days; at most the resource's `max_wait_ms` counts.
    pub wait_ms: u64,
    /// Time to live once held, 1 ms to 31 days, lowered to the resource's `max_ttl_ms`; `None` is the resource's default.
    pub ttl_ms: Option<u64>,
    /// Kept and shown with the lease.
    pub metadata: Metadata,
}

/// Strings that a caller wants to see again with its lease: at most 16 pairs and 1 KiB in all.
pub type Metadata = BTreeMap<String, String>;

/// True when metadata is within its bounds.
#[must_use]
pub fn metadata_fits(metadata: &Metadata) -> bool {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    metadata.len() <= caps::METADATA_PAIRS_MAX && bytes <= caps::METADATA_BYTES_MAX
}

/// Ends a held lease, or gives a place in line up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which lease.
    pub lease: LeaseId,
    /// What was really used; `None` leaves the charge as it is.
    pub used: Option<Load>,
}

/// Gives a held lease a new deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extend {
    /// Which lease.
    pub lease: LeaseId,
    /// From now, 1 ms to 31 days, lowered to the resource's `max_ttl_ms`; `None` is the resource's default.
    pub ttl_ms: Option<u64>,
}

/// Says that somebody still waits for these leases. At most 1,000; those that do not wait are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Which leases.
    pub leases: Vec<LeaseId>,
}
