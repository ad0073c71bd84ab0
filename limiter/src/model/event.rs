//! Events: what an applied entry did, for whoever watches the group.

use crate::model::lease_id::LeaseId;
use crate::model::name::ResourceName;
use crate::model::outcome::{LeaseState, Refusal};

/// Something that an applied entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The resource it concerns.
    pub resource: ResourceName,
    /// How the resource stands once it has happened; `None` when it is deleted.
    pub standing: Option<Standing>,
    /// What happened.
    pub kind: EventKind,
}

/// How many wait for a resource, and how many hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Leases in its queue.
    pub queue_depth: u64,
    /// Leases held.
    pub held: u64,
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
        /// Its priority.
        priority: u8,
    },
    /// A lease was granted.
    Granted {
        /// Which lease.
        lease: LeaseId,
        /// Its scalar load.
        load: u64,
        /// Its priority.
        priority: u8,
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
        /// Its priority.
        priority: u8,
        /// Which end.
        state: LeaseState,
        /// Why the server ended it, when it was [`LeaseState::Rejected`].
        rejection: Option<Rejection>,
    },
    /// An acquire was refused and left no lease.
    Refused {
        /// Its scalar load.
        load: u64,
        /// Its priority.
        priority: u8,
        /// Why.
        rejection: Rejection,
    },
    /// The limits, the queue's bounds or the leases' times were changed.
    LimitsChanged {
        /// The version from now on.
        version: u64,
    },
    /// The resource was deleted.
    Deleted,
}

/// Why an acquire was refused, or a waiting lease ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The limits do not allow it now, and it does not want to wait.
    LimitExceeded,
    /// As many leases wait as may wait.
    QueueFull,
    /// It could never be granted.
    LoadExceedsCapacity,
    /// A limit counts a dimension, and the load is one number.
    DimensionNeeded,
    /// The group has as many leases as it may have.
    TooManyLeases,
    /// Its resource was deleted.
    ResourceDeleted,
}

impl Rejection {
    /// The rejection that a refusal is; `None` for one that is about something else.
    pub(crate) fn of(refusal: &Refusal) -> Option<Self> {
        Some(match refusal {
            Refusal::LimitExceeded(_) => Self::LimitExceeded,
            Refusal::QueueFull(_) => Self::QueueFull,
            Refusal::LoadExceedsCapacity { .. } => Self::LoadExceedsCapacity,
            Refusal::DimensionNeeded { .. } => Self::DimensionNeeded,
            Refusal::TooManyLeases => Self::TooManyLeases,
            Refusal::ResourceDeleted => Self::ResourceDeleted,
            Refusal::ResourceNotFound
            | Refusal::InvalidResource(_)
            | Refusal::VersionConflict { .. }
            | Refusal::TooManyResources
            | Refusal::WaitTimeout(_)
            | Refusal::Malformed(_)
            | Refusal::IdempotencyConflict
            | Refusal::LeaseNotFound
            | Refusal::LeaseExpired
            | Refusal::LeaseNotHeld(_)
            | Refusal::LeaseEnded(_)
            | Refusal::ResourceExists
            | Refusal::ClaimOutdated { .. }
            | Refusal::NamePast(_)
            | Refusal::Internal(_) => return None,
        })
    }
}
