//! Events: what happens, as it is told to whoever watches.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorCode;

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in the API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

// A new kind stands at the end: its place is its number between nodes.
event_kinds! {
    /// A lease joined the queue.
    Queued => "queued";
    /// A lease was granted.
    Granted => "granted";
    /// A held lease was given back.
    Released => "released";
    /// A held lease was not given back before its deadline.
    Expired => "expired";
    /// A lease was granted while its caller was away, and not claimed in time.
    Lapsed => "lapsed";
    /// A waiting lease was given up.
    Cancelled => "cancelled";
    /// A waiting lease was not granted within its time to wait.
    TimedOut => "timed_out";
    /// An acquire was refused, or a waiting lease ended by the server.
    Rejected => "rejected";
    /// The limits, the queue's bounds or the leases' times were changed.
    LimitChanged => "limit_changed";
    /// The resource was deleted.
    Deleted => "deleted";
    /// A group has a new leader.
    LeaderChanged => "leader_changed";
}

/// A text that is no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind of event {found:?}: it must be one of {}", names())]
pub struct UnknownKind {
    found: String,
}

fn names() -> String {
    let names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    names.join(", ")
}

impl FromStr for EventKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| UnknownKind { found: text.to_owned() })
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened. It stands at one place in the log of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The group in whose log it stands.
    pub group: String,
    /// The log entry that did it.
    pub log_index: u64,
    /// Its number among what the entry did, from 1.
    pub ordinal: u32,
    /// About when, in milliseconds since 1970 by the clock of the node that tells it.
    pub at_ms: u64,
    /// The resource; absent for `leader_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The lease, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The load of the lease or of the acquire, summed up over its dimensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<u64>,
    /// Its priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Of `granted`: the fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<u64>,
    /// Of `granted`: how long it waited in the queue, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// Of `rejected`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ErrorCode>,
    /// Of `limit_changed`: the version of the resource from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Of `leader_changed`: the node that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
    /// Of `leader_changed`: its term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Leases in the queue of the resource once it has happened; absent when it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_depth: Option<u64>,
    /// Leases held once it has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
}

/// The first message of a stream of events: what it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsReady {
    /// For each group the log index after which its events follow.
    pub at: BTreeMap<String, u64>,
}

/// What was asked for is not known any more: the stream goes on with what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsGap {
    /// The group.
    pub group: String,
    /// The log index from which on its events follow.
    pub first_index: u64,
}

/// The reader was too slow, and the stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsLagged {
    /// The group of which it has missed something.
    pub group: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).ok(), Some(kind.as_str().into()));
        }
        let unknown = "grant".parse::<EventKind>().map_err(|error| error.to_string());
        assert!(unknown.is_err_and(|text| text.contains("\"grant\"") && text.contains("granted")));
    }
}
