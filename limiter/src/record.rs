//! Records: the state as keyed values, the way a checkpoint and a snapshot carry it.
//!
//! Ids are never used twice, so a key that is gone stays gone. Everything that is not in a record (lines, timers, indexes)
//! is derived from the records when they are loaded.

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::command::Metadata;
use crate::level::{Features, Level};
use crate::limit::{Charge, Limit};
use crate::load::Load;
use crate::name::{LimitName, Placement, RequestId, ResourceName};
use crate::outcome::{LeaseState, Refusal, Reply};
use crate::spec::{Cost, LeaseSpec, QueueSpec, ResourceSpec};
use crate::stored::StoredLease;
use crate::time::LogTime;

/// The key of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKey {
    /// The one record of the group's time and counters.
    Meta,
    /// A resource.
    Resource(u64),
    /// A lease in any part of its life.
    Lease(u64),
    /// A remembered change of a resource.
    Memo(u64),
    /// The one record of the catalog's counters. Not there before it is needed.
    Catalog,
    /// A name that is claimed, or was.
    Claim(u64),
    /// The one record of the feature level. Not there before it is raised.
    Features,
}

/// The value of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Of [`RecordKey::Meta`].
    Meta(Meta),
    /// Of [`RecordKey::Resource`].
    Resource(ResourceRecord),
    /// Of [`RecordKey::Lease`].
    Lease(LeaseRecord),
    /// Of [`RecordKey::Memo`].
    Memo(Memo),
    /// Of [`RecordKey::Catalog`].
    Catalog(Catalog),
    /// Of [`RecordKey::Claim`].
    Claim(Claim),
    /// Of [`RecordKey::Features`].
    Features(Features),
}

/// The group's time and counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Log time of the last applied entry.
    pub(crate) now: LogTime,
    pub(crate) leases_made: u64,
    pub(crate) resources_made: u64,
    pub(crate) memos_made: u64,
    pub(crate) fencing_token: u64,
    /// Ended leases and changes that were forgotten early, because there were too many.
    pub(crate) forgotten_early: u64,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRecord {
    pub(crate) name: ResourceName,
    pub(crate) version: u64,
    pub(crate) effective_index: u64,
    /// In name order.
    pub(crate) limits: Vec<Limit>,
    pub(crate) limits_made: u32,
    pub(crate) queue: QueueSpec,
    pub(crate) lease: LeaseSpec,
    /// From here on the line is still to be searched for leases that a change of the limits has made impossible.
    pub(crate) sweep: Option<(u8, u64)>,
    /// Its name is free again; its leases are being ended.
    pub(crate) deleted: bool,
}

impl ResourceRecord {
    pub(crate) fn spec(&self) -> ResourceSpec {
        let limits = self.limits.iter().map(|limit| (limit.name.clone(), limit.spec.clone())).collect();
        ResourceSpec { limits, queue: self.queue, lease: self.lease }
    }

    /// Why this load can never be admitted: a limit that cannot judge it, or one that it exceeds.
    pub(crate) fn impossible(&self, load: &Load) -> Option<Refusal> {
        let scalar = matches!(load, Load::Scalar(_));
        for limit in &self.limits {
            if let (true, Cost::Dimension(dimension)) = (scalar, &limit.spec.cost) {
                return Some(Refusal::DimensionNeeded { limit: limit.name.clone(), dimension: dimension.clone() });
            }
        }
        let (limit, cost) = self
            .limits
            .iter()
            .map(|limit| (limit, limit.cost(load)))
            .find(|(limit, cost)| *cost > limit.spec.rule.capacity())?;
        let capacity = limit.spec.rule.capacity();
        Some(Refusal::LoadExceedsCapacity { limit: limit.name.clone(), cost, capacity })
    }

    pub(crate) fn fits(&self, load: &Load, now: LogTime, level: Level) -> bool {
        self.limits.iter().all(|limit| limit.fits(limit.needed(load, level), now))
    }
}

/// A lease in any part of its life. Its stored form is in `stored.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "StoredLease")]
pub struct LeaseRecord {
    pub(crate) tag: u32,
    pub(crate) resource: u64,
    pub(crate) resource_name: ResourceName,
    pub(crate) request: RequestId,
    /// A hash of what was asked for.
    pub(crate) body: u64,
    pub(crate) load: Load,
    pub(crate) priority: u8,
    pub(crate) ttl_ms: u64,
    pub(crate) metadata: Metadata,
    pub(crate) arrived: LogTime,
    pub(crate) life: Life,
    /// Who calls for it, while it waits and until it was claimed.
    pub(crate) caller: Caller,
}

/// Who calls for a lease. Before feature level 2, and once the lease has ended, nobody says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// The call that came last: the one that its end is about. 0 when none is known.
    pub call: u64,
    pub presence: Presence,
    /// Until when a lease that was granted while its caller was away must be claimed.
    pub claim_until: Option<LogTime>,
}

/// Whether the caller of a waiting lease is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Presence {
    #[default]
    Attached,
    /// Its call has ended without an answer. It keeps its place, and has to claim what it is granted.
    Detached,
    /// The same, in a queue that does not wait for claims: it is passed over.
    PassedOver,
}

/// The part of its life that a lease is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    Waiting { until: LogTime, alive_until: LogTime },
    Held(Holding),
    Ended(Box<Ended>),
}

/// A held lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub fencing_token: u64,
    pub granted: LogTime,
    pub deadline: LogTime,
    pub log_index: u64,
    pub charges: Vec<Charge>,
}

/// An ended lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub state: LeaseState,
    pub at: LogTime,
    pub log_index: u64,
    pub refusal: Option<Refusal>,
    pub fencing_token: Option<u64>,
    pub refunded: Vec<(LimitName, u64)>,
    pub debited: Vec<(LimitName, u64)>,
}

impl LeaseRecord {
    /// When time alone does something to it; `None` when it has ended.
    pub(crate) fn timer(&self) -> Option<LogTime> {
        match &self.life {
            Life::Waiting { until, alive_until } => Some(*until.min(alive_until)),
            Life::Held(holding) => {
                Some(self.caller.claim_until.map_or(holding.deadline, |at| at.min(holding.deadline)))
            }
            Life::Ended(_) => None,
        }
    }

    /// Bytes that it takes while it is remembered, about.
    pub(crate) fn remembered_bytes(&self) -> u64 {
        let text = self.resource_name.as_str().len() + self.request.as_str().len();
        caps::REMEMBERED_LEASE_BYTES + text as u64 + self.metadata_bytes()
    }

    pub(crate) fn metadata_bytes(&self) -> u64 {
        self.metadata.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// A remembered change of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    pub(crate) request: RequestId,
    pub(crate) body: u64,
    pub(crate) at: LogTime,
    pub(crate) reply: Reply,
}

/// The counters of the catalog, and what this group knows of claims elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    pub(crate) claims_made: u64,
    /// Nothing is created here under a claim up to this number.
    pub(crate) fence: u64,
    /// The highest fencing token of which a deleted resource has told.
    pub(crate) fencing_token: u64,
}

/// A name that is claimed, or was until a while ago. Its stored form is in `stored.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(crate) resource: ResourceName,
    pub(crate) placement: Placement,
    /// The log index at which it was made.
    pub(crate) number: u64,
    pub(crate) at: LogTime,
    /// What is created under it has higher fencing tokens.
    pub(crate) fencing_token: u64,
    /// When it was given back.
    pub(crate) past: Option<LogTime>,
}

macro_rules! into_record {
    ($($type:ident => $variant:ident),*) => {
        $(impl From<$type> for Record {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

into_record!(Meta => Meta, ResourceRecord => Resource, LeaseRecord => Lease, Memo => Memo, Catalog => Catalog, Claim => Claim,
    Features => Features);
