//! Decisions of the log, one by one, as they are shown.

use std::collections::BTreeMap;

use ratequeue_limiter::{Event, EventKind, LeaseId, LimitName, Load, ResourceName, State};
use ratequeue_raft::Replayed;
use serde::{Serialize, Serializer};

/// A decision.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// The entry that decided it.
    pub index: u64,
    /// The term of the entry.
    pub term: u64,
    /// True when the node knew that a majority has the entry.
    pub committed: bool,
    /// Log time, in microseconds.
    pub time_us: u64,
    /// The resource.
    #[serde(serialize_with = "text")]
    pub resource: ResourceName,
    /// What was decided.
    #[serde(flatten)]
    pub kind: DecisionKind,
}

/// What was decided.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum DecisionKind {
    /// A lease joined the queue.
    Queued {
        /// The lease.
        #[serde(skip)]
        id: LeaseId,
        /// Its id, as the API has it.
        lease: String,
        /// The key of its acquire.
        request: Option<String>,
    },
    /// A lease was granted.
    Granted {
        /// The lease.
        #[serde(skip)]
        id: LeaseId,
        /// Its id, as the API has it.
        lease: String,
        /// The key of its acquire.
        request: Option<String>,
        /// What its caller asked for. Unknown when its resource was deleted in the same entry.
        #[serde(serialize_with = "load_as_in_api")]
        load: Option<Load>,
        /// Its fencing token.
        fencing_token: u64,
        /// Time in the queue, in microseconds.
        waited_us: u64,
    },
    /// A lease ended.
    Ended {
        /// The lease.
        #[serde(skip)]
        id: LeaseId,
        /// Its id, as the API has it.
        lease: String,
        /// Which end: `released`, `expired`, ...
        state: &'static str,
        /// Given back, by limit.
        refunded: BTreeMap<String, u64>,
        /// Charged on top, by limit.
        debited: BTreeMap<String, u64>,
    },
    /// An acquire was refused, and left no lease.
    Refused {
        /// Its scalar load.
        load: u64,
    },
    /// The limits were changed.
    LimitsChanged {
        /// The version from now on.
        version: u64,
    },
    /// The resource was deleted.
    Deleted,
}

impl Decision {
    /// What an entry of a group decided, in order; `state` is the state after it.
    pub fn all(group: &str, replayed: &Replayed, state: &State) -> Vec<Self> {
        let of = |event: &Event| Self {
            index: replayed.id.index,
            term: replayed.id.term,
            committed: replayed.is_committed,
            time_us: state.now().0,
            resource: event.resource.clone(),
            kind: DecisionKind::of(group, event, state),
        };
        replayed.applied.events.iter().map(of).collect()
    }
}

impl DecisionKind {
    fn of(group: &str, event: &Event, state: &State) -> Self {
        let shown = |id: LeaseId| format!("{group}.{id}");
        let request = |id: LeaseId| state.request(id).map(|key| key.as_str().to_owned());
        let amounts = |amounts: &[(LimitName, u64)]| {
            amounts.iter().map(|(limit, amount)| (limit.to_string(), *amount)).collect()
        };

        match &event.kind {
            EventKind::Queued { lease, .. } => {
                Self::Queued { id: *lease, lease: shown(*lease), request: request(*lease) }
            }
            EventKind::Granted { lease, fencing_token, waited_us, .. } => Self::Granted {
                id: *lease,
                lease: shown(*lease),
                request: request(*lease),
                load: state.lease(*lease, state.now()).map(|view| view.load),
                fencing_token: *fencing_token,
                waited_us: *waited_us,
            },
            EventKind::Ended { lease, state: end, .. } => {
                let corrections = state.corrections(*lease);
                Self::Ended {
                    id: *lease,
                    lease: shown(*lease),
                    state: end.as_str(),
                    refunded: corrections.map(|c| amounts(c.refunded)).unwrap_or_default(),
                    debited: corrections.map(|c| amounts(c.debited)).unwrap_or_default(),
                }
            }
            EventKind::Refused { load, .. } => Self::Refused { load: *load },
            EventKind::LimitsChanged { version } => Self::LimitsChanged { version: *version },
            EventKind::Deleted => Self::Deleted,
        }
    }
}

fn text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// A number, or an object with a number for each dimension, as in the API.
fn load_as_in_api<S: Serializer>(load: &Option<Load>, serializer: S) -> Result<S::Ok, S::Error> {
    match load {
        None => serializer.serialize_none(),
        Some(Load::Scalar(units)) => serializer.serialize_u64(*units),
        Some(Load::Map(map)) => {
            serializer.collect_map(map.iter().map(|(name, units)| (name.as_str(), units)))
        }
    }
}
