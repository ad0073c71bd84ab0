//! Events: what an applied entry did, told to the leader's shell, which alone may act on them.

use crate::model::lease_id::LeaseId;
use crate::model::name::ResourceName;
use crate::model::outcome::LeaseState;

/// Something that an applied entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The resource it concerns.
    pub resource: ResourceName,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A lease joined the queue.
    Queued {
        /// Which lease.
        lease: LeaseId,
        /// Its scalar load.
        load: u64,
    },
    /// A lease was granted.
    Granted {
        /// Which lease.
        lease: LeaseId,
        /// Its scalar load.
        load: u64,
        /// Its fencing token.
        fencing_token: u64,
        /// How long it waited in the queue, in microseconds.
        waited_us: u64,
    },
    /// A lease ended.
    Ended {
        /// Which lease.
        lease: LeaseId,
        /// Its scalar load.
        load: u64,
        /// Which end.
        state: LeaseState,
    },
    /// An acquire was refused and left no lease.
    Refused {
        /// Its scalar load.
        load: u64,
    },
    /// The limits, the queue's bounds or the leases' times were changed.
    LimitsChanged {
        /// The version from now on.
        version: u64,
    },
    /// The resource was deleted.
    Deleted,
}
