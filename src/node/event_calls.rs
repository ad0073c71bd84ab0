//! What nodes ask of each other about what happens in their groups.

use std::collections::BTreeSet;

use ratequeue_api::event::{Event, EventKind};
use ratequeue_limiter::ResourceName;
use serde::{Deserialize, Serialize};

use super::peer_calls::as_json;

/// Asks for what happens in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsCall {
    pub group: String,
    /// After this log index; `None` asks only where the log is.
    pub after: Option<u64>,
    pub filter: EventFilter,
    /// How long the call is held open until something happens.
    pub hold_ms: u64,
}

/// Which events pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Of these resources; all when empty.
    pub resources: BTreeSet<ResourceName>,
    /// Of these kinds; all when empty.
    pub kinds: BTreeSet<EventKind>,
}

impl EventFilter {
    /// Whether an event of this kind passes, of this resource or of a group.
    pub fn passes(&self, kind: EventKind, resource: Option<&ResourceName>) -> bool {
        let of_kind = self.kinds.is_empty() || self.kinds.contains(&kind);
        of_kind
            && resource.map_or(self.resources.is_empty(), |name| {
                self.resources.is_empty() || self.resources.contains(name)
            })
    }
}

/// What has happened in a group.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPage {
    #[serde(with = "as_json")]
    pub events: Vec<Event>,
    /// Everything up to this log index is told.
    pub after: u64,
    /// What was asked for is not known any more; from this log index on it is.
    pub gap: Option<u64>,
}
