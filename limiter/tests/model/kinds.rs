//! Kinds of answers and events, counted: a run that did little proves little.

use std::collections::BTreeMap;

use crate::naive::{Answer, Happens, LeaseStage};

/// How often each kind of answer and event came.
pub type Tally = BTreeMap<&'static str, u64>;

/// What a long run must have seen, each at least once in a thousand sequences.
pub const KINDS: [&str; 35] = [
    "waiting",
    "held",
    "limit exceeded",
    "only the queue",
    "queue full",
    "wait timeout",
    "load exceeds",
    "dimension needed",
    "conflict",
    "no resource",
    "no lease",
    "expired",
    "not held",
    "ended",
    "resource deleted",
    "released",
    "refunded",
    "debited",
    "extended",
    "put",
    "patched",
    "deleted",
    "wrong version",
    "invalid",
    "noted",
    "is queued",
    "is granted",
    "is released",
    "is expired",
    "is cancelled",
    "is timed out",
    "is rejected",
    "is lapsed",
    "attended",
    "passed over",
];

pub fn kind_of(answer: &Answer) -> &'static str {
    match answer {
        Answer::Waiting(_) => "waiting",
        Answer::Held(_) => "held",
        Answer::LimitExceeded(by) if by == &["queue"] => "only the queue",
        Answer::LimitExceeded(_) => "limit exceeded",
        Answer::QueueFull(_) => "queue full",
        Answer::WaitTimeout => "wait timeout",
        Answer::LoadExceeds(_) => "load exceeds",
        Answer::DimensionNeeded(_) => "dimension needed",
        Answer::Conflict => "conflict",
        Answer::NoResource => "no resource",
        Answer::NoLease => "no lease",
        Answer::Expired => "expired",
        Answer::NotHeld(_) => "not held",
        Answer::Ended(_) => "ended",
        Answer::ResourceDeleted => "resource deleted",
        Answer::Released { refunded, .. } if !refunded.is_empty() => "refunded",
        Answer::Released { debited, .. } if !debited.is_empty() => "debited",
        Answer::Released { .. } => "released",
        Answer::Extended(_) => "extended",
        Answer::Attended(..) => "attended",
        Answer::Put { .. } => "put",
        Answer::Patched { .. } => "patched",
        Answer::Deleted => "deleted",
        Answer::WrongVersion(_) => "wrong version",
        Answer::Invalid => "invalid",
        Answer::Noted => "noted",
    }
}

pub fn kind_of_event(what: Happens) -> &'static str {
    match what {
        Happens::Queued => "is queued",
        Happens::Granted => "is granted",
        Happens::Ends(LeaseStage::Released) => "is released",
        Happens::Ends(LeaseStage::Expired) => "is expired",
        Happens::Ends(LeaseStage::Cancelled) => "is cancelled",
        Happens::Ends(LeaseStage::TimedOut) => "is timed out",
        Happens::Ends(LeaseStage::Lapsed) => "is lapsed",
        Happens::Ends(LeaseStage::Rejected | LeaseStage::Waiting | LeaseStage::Held) => {
            "is rejected"
        }
    }
}
