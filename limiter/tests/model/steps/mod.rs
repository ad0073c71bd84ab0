//! Random steps: small quotas, short windows and few names, so that leases get into each other's
//! way.
//!
//! A step says what to do in words that do not depend on the state ("release the lease of request
//! r7", "go to the next due time"), so that a failing list of steps can be shortened and still
//! means something.

mod dice;
pub mod translate;

use std::collections::BTreeMap;

pub use dice::{level, steps};

/// What a limit limits, as the model sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Window,
    Bucket,
    Concurrency,
}

/// What an acquire costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    One,
    Load,
    /// Of the dimension `a`.
    DimensionA,
}

/// Which corrections a release makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrueUp {
    Both,
    DebitOnly,
    None,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub kind: Kind,
    pub quota: u64,
    /// Kept, and of no meaning, for concurrency.
    pub window_ms: u64,
    pub burst: Option<u64>,
    pub cost: Cost,
    pub true_up: TrueUp,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub limits: BTreeMap<&'static str, Limit>,
    pub max_waiting: u32,
    pub max_wait_ms: u64,
    pub claim_ms: u64,
    pub default_ttl_ms: u64,
    pub max_ttl_ms: u64,
}

/// One change of one limit, by a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Quota(u64),
    Window(u64),
    Burst(Option<u64>),
    Cost(Cost),
    Add(Limit),
    Remove,
    /// Of the resource.
    ClaimMs(Option<u64>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    Scalar(u64),
    Map { a: u64, b: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    pub request: u64,
    pub resource: &'static str,
    pub load: Load,
    pub priority: u8,
    pub wait_ms: u64,
    pub ttl_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Put {
        request: u64,
        resource: &'static str,
        spec: Spec,
        condition: Condition,
    },
    Patch {
        request: u64,
        resource: &'static str,
        limit: &'static str,
        change: Change,
        condition: Condition,
    },
    Delete {
        request: u64,
        resource: &'static str,
    },
    /// By a call of this number; 0 is none.
    Acquire(Acquire, u64),
    Attend {
        request: u64,
        call: u64,
    },
    Detach {
        calls: Vec<(u64, u64)>,
        for_good: bool,
    },
    Release {
        request: u64,
        used: Option<Load>,
    },
    Extend {
        request: u64,
        ttl_ms: Option<u64>,
    },
    Keepalive {
        requests: Vec<u64>,
    },
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Any,
    Absent,
    Version(u64),
}

/// How log time goes on before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    By(u64),
    Back(u64),
    /// To the next due time, less so many microseconds.
    Due(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub advance: Advance,
    /// Put the state together from its records first.
    pub reload: bool,
    pub commands: Vec<Command>,
}
