//! Outcomes: what the core answers to a command, and how it shows a resource or a lease.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::lease_id::LeaseId;
use crate::model::load::Load;
use crate::model::name::{LimitName, Placement, ResourceName};
use crate::model::numbers::{Metadata, OutOfBounds};
use crate::model::spec::{InvalidResource, ResourceSpec};
use crate::model::time::LogTime;

/// What a command came to. A refusal is an answer too: the same on every replica, and, but for
/// [`Refusal::Internal`], it changed nothing.
pub type Outcome = Result<Reply, Refusal>;

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A resource was created or replaced.
    Put {
        /// It did not exist before.
        created: bool,
        /// As it is now.
        resource: Arc<ResourceView>,
    },
    /// A resource was changed.
    Patched(Arc<ResourceView>),
    /// A resource was deleted.
    Deleted,
    /// An acquire got its lease: waiting or held.
    Acquired(LeaseView),
    /// A lease was released, or its place in the queue given up.
    Released(Released),
    /// A held lease has a new deadline.
    Extended(LeaseView),
    /// A keepalive, a tick or the end of a claim was noted.
    Noted,
    /// A name is claimed.
    Claimed {
        /// By whom: an earlier claim stays.
        claim: ClaimView,
        /// It was claimed just now.
        fresh: bool,
    },
    /// Claims were made worthless in this group.
    Fenced {
        /// The last fencing token of the group.
        fencing_token: u64,
    },
    /// A call attends a lease, which is as it is now.
    Attended(LeaseView),
    /// The feature level of the group from now on.
    Level(u32),
}

/// A command that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No resource has this name.
    #[error("no resource has this name")]
    ResourceNotFound,
    /// The resource, or the result of the patch, is invalid.
    #[error(transparent)]
    InvalidResource(InvalidResource),
    /// The condition of the change does not hold; the version it has now, if it exists.
    #[error("the resource is not in the version that the change was made for")]
    VersionConflict {
        /// `None` when the resource does not exist.
        version: Option<u64>,
    },
    /// The group has as many resources as it may have.
    #[error("the group has as many resources as it may have")]
    TooManyResources,
    /// It cannot be granted now, and it does not want to wait.
    #[error("the limits do not allow it now")]
    LimitExceeded(Blocked),
    /// It cannot be granted now, and the queue is full.
    #[error("as many leases wait as may wait")]
    QueueFull(Blocked),
    /// Its time to wait ran out.
    #[error("it was not its turn before its time to wait ran out")]
    WaitTimeout(Blocked),
    /// The group has as many leases as it may have.
    #[error("the group has as many leases as it may have")]
    TooManyLeases,
    /// It could never be granted.
    #[error("the load is more than the limit {limit} can ever admit: {cost} of at most {capacity}")]
    LoadExceedsCapacity {
        /// The limit.
        limit: LimitName,
        /// What the load costs under it.
        cost: u64,
        /// What it can admit at once.
        capacity: u64,
    },
    /// A limit counts a dimension, and the load is one number.
    #[error("the limit {limit} counts the dimension {dimension}: give the load as a map")]
    DimensionNeeded {
        /// The limit.
        limit: LimitName,
        /// The dimension it counts.
        dimension: LimitName,
    },
    /// A field is out of its bounds.
    #[error("{0}")]
    Malformed(String),
    /// This request id was used for something else.
    #[error("this request id was used with another body")]
    IdempotencyConflict,
    /// No such lease, or it is forgotten.
    #[error("no lease has this id, or it is forgotten")]
    LeaseNotFound,
    /// The lease has expired.
    #[error("the lease has expired")]
    LeaseExpired,
    /// The lease is not held.
    #[error("the lease is not held")]
    LeaseNotHeld(LeaseState),
    /// The lease of this request has ended.
    #[error("the lease of this request has ended")]
    LeaseEnded(LeaseState),
    /// The resource was deleted while the lease waited.
    #[error("the resource was deleted")]
    ResourceDeleted,
    /// A resource of this name exists in the group.
    #[error("the resource exists")]
    ResourceExists,
    /// The claim of the name was fenced before the resource was created.
    #[error("the claim of the name is outdated")]
    ClaimOutdated {
        /// The claim must have a higher number.
        fence: u64,
    },
    /// The name was given back lately: who claims it again has to know where it was, for a change
    /// may be remembered there.
    #[error("the name was given back a moment ago")]
    NamePast(PastClaims),
    /// The state holds what cannot be: a fault of the program, the same on every replica. What the
    /// command had changed by then stays.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<OutOfBounds> for Refusal {
    fn from(bad: OutOfBounds) -> Self {
        Self::Malformed(bad.0)
    }
}

/// What stands in the way of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The limits that do not allow it; `None` stands for the queue. In name order, the queue
    /// last.
    pub violated: Vec<Option<LimitName>>,
    /// When it may be worth to try again: an estimate, at least 1 ms. 0 where it is kept: it is
    /// made when it is shown.
    pub retry_after_ms: u64,
}

/// Where in its life a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeaseState {
    /// In the queue.
    Waiting,
    /// Granted, and not past its deadline.
    Held,
    /// Given back by its holder.
    Released,
    /// Not given back before its deadline.
    Expired,
    /// Given up while it waited.
    Cancelled,
    /// Not granted within its time to wait.
    TimedOut,
    /// Ended by the server while it waited: its resource was deleted, or lowered below its load.
    Rejected,
    /// Granted while its caller was away, and not claimed in time.
    Lapsed,
}

impl LeaseState {
    /// The state's name, as the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
            Self::Lapsed => "lapsed",
        }
    }
}

/// A resource as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// Its name.
    pub name: ResourceName,
    /// What its user said.
    pub spec: ResourceSpec,
    /// 1, 2, ... in the order of its changes.
    pub version: u64,
    /// The log index from which this version is in effect.
    pub effective_index: u64,
}

/// A claim as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimView {
    /// The name.
    pub resource: ResourceName,
    /// The group that it is claimed for.
    pub placement: Placement,
    /// The log index at which it was made: a later claim is higher.
    pub number: u64,
    /// Log time at which it was made.
    pub at: LogTime,
    /// What is created under it has higher fencing tokens.
    pub fencing_token: u64,
}

/// Where a name was claimed that was given back lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastClaims {
    /// The groups, the last one first, each once.
    pub placements: Vec<Placement>,
    /// The number of the last claim.
    pub number: u64,
}

/// A lease as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its id.
    pub id: LeaseId,
    /// Its resource.
    pub resource: ResourceName,
    /// Where in its life it is.
    pub phase: Phase,
    /// What its caller asked for.
    pub load: Load,
    /// 0 (first) to 9 (last).
    pub priority: u8,
    /// What its caller wanted to see again.
    pub metadata: Metadata,
}

/// What a lease shows in each part of its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// In the queue.
    Waiting(Place),
    /// Held.
    Held(Grant),
    /// Over.
    Ended(End),
}

/// A place in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub position: u64,
    /// The loads of the leases before it, summed up.
    pub load_ahead: u64,
    /// When its turn may come: an estimate, at least 1 ms.
    pub retry_after_ms: u64,
    /// When its time to wait is over.
    pub waits_until: LogTime,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Higher than that of every earlier grant of the group.
    pub fencing_token: u64,
    /// What was charged, without zeros, in name order.
    pub charged: Vec<(LimitName, u64)>,
    /// When it expires.
    pub deadline: LogTime,
    /// Until then, in milliseconds rounded down, so that no holder trusts it too long.
    pub expires_in_ms: u64,
    /// How long it waited in the queue, in milliseconds.
    pub waited_ms: u64,
    /// The log index at which it was granted.
    pub log_index: u64,
}

/// The end of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which end. Never waiting or held.
    pub state: LeaseState,
    /// The log index at which it ended.
    pub ended_index: u64,
    /// What ended it, when it was the server that did.
    pub refusal: Option<Refusal>,
    /// Its grant, if it had been granted.
    pub fencing_token: Option<u64>,
}

/// The answer to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Which lease.
    pub id: LeaseId,
    /// `Released`, or `Cancelled` when it was still in the queue.
    pub state: LeaseState,
    /// Given back, without zeros, in name order.
    pub refunded: Vec<(LimitName, u64)>,
    /// Charged on top, without zeros, in name order.
    pub debited: Vec<(LimitName, u64)>,
}

/// How one limit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUsage {
    /// Its name.
    pub name: LimitName,
    /// The most it admits at once: the burst of a token bucket, otherwise the quota.
    pub capacity: u64,
    /// The quota.
    pub quota: u64,
    /// The window, for a rate.
    pub window_ms: Option<u64>,
    /// In use now, rounded up.
    pub used: u64,
    /// Free now, rounded down.
    pub remaining: u64,
    /// When the next used unit comes back, in milliseconds; `None` when only a release brings it,
    /// or none is used.
    pub next_in_ms: Option<u64>,
}

/// The first in the queue of a resource, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueHead {
    /// Which lease.
    pub lease: LeaseId,
    /// Its load.
    pub load: Load,
    /// Its priority.
    pub priority: u8,
    /// How long it has waited, in milliseconds.
    pub waited_ms: u64,
    /// The limits that it does not fit under now, in name order.
    pub violated: Vec<LimitName>,
    /// What it needs of each limit, without zeros, in name order.
    pub needs: Vec<(LimitName, u64)>,
    /// When it fits if nothing else happens, in milliseconds; `None` when only a release makes it
    /// fit.
    pub fits_in_ms: Option<u64>,
}

/// How many leases a resource has that have not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLeases {
    /// The resource.
    pub resource: ResourceName,
    /// In the queue.
    pub waiting: u64,
    /// Held.
    pub held: u64,
}

/// How a resource stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceUsage {
    /// Leases in the queue.
    pub queue_depth: u64,
    /// Their loads, summed up.
    pub queue_load: u64,
    /// How long the oldest of them has waited, in milliseconds; 0 for an empty queue.
    pub oldest_wait_ms: u64,
    /// Leases held.
    pub held: u64,
    /// Each limit, in name order.
    pub limits: Vec<LimitUsage>,
}
