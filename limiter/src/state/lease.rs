//! The record of a lease: what was asked for, the stage that it is in, and who calls for it.

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::limit::Charge;
use crate::model::load::Load;
use crate::model::name::{LimitName, RequestId, ResourceName};
use crate::model::numbers::Metadata;
use crate::model::outcome::{LeaseState, Refusal};
use crate::model::time::LogTime;
use crate::state::forms::StoredLease;

/// A lease in any stage. Its stored form is in `state/forms.rs`.
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
    pub(crate) stage: LeaseStage,
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

impl Caller {
    /// The caller of a lease that a call has just made.
    pub fn of_call(call: u64) -> Self {
        Self { call, ..Self::default() }
    }
}

/// Whether the caller of a waiting lease is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Presence {
    #[default]
    Attached,
    /// Its call has ended without an answer. It keeps its place, and has to claim what it is
    /// granted.
    Detached,
    /// The same, in a queue that does not wait for claims: it is passed over.
    PassedOver,
}

/// The stage that a lease is in. Only `lease/transitions.rs` changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseStage {
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
        match &self.stage {
            LeaseStage::Waiting { until, alive_until } => Some(*until.min(alive_until)),
            LeaseStage::Held(holding) => Some(
                self.caller.claim_until.map_or(holding.deadline, |at| at.min(holding.deadline)),
            ),
            LeaseStage::Ended(_) => None,
        }
    }

    /// True when time has done something to it that is still to be carried out.
    pub(crate) fn is_overdue(&self, now: LogTime) -> bool {
        self.timer().is_some_and(|at| at <= now)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.stage, LeaseStage::Waiting { .. })
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.stage, LeaseStage::Held(_))
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.stage, LeaseStage::Ended(_))
    }

    /// Bytes that it takes while it is remembered, about.
    pub(crate) fn remembered_bytes(&self) -> u64 {
        let text = self.resource_name.as_str().len() + self.request.as_str().len();
        caps::REMEMBERED_LEASE_BYTES + text as u64 + self.metadata_bytes()
    }

    pub(crate) fn metadata_bytes(&self) -> u64 {
        self.metadata.bytes() as u64
    }
}
