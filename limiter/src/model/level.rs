//! The feature level: which rules a group follows.
//!
//! All replicas must decide alike, whatever version of RateQueue each of them runs. So the rules
//! are no property of the program but of the state: a number in it, which a command raises once
//! every member can follow ([`crate::Command::RaiseLevel`]). A rule that is new is asked for by
//! name here, and nowhere by number.
//!
//! | level | brings |
//! |---|---|
//! | 1 | all that commit 66656ad did |
//! | 2 | detached leases and `claim_ms`; a load of 0 is gated; work is bounded per entry, and left-over work waits its turn; an identical put changes nothing; estimates are no part of the state; remembered leases are bounded in bytes; names of up to 256 characters with `@ / + = ~ [ ]`; a name that was given back is remembered for a while |

use serde::{Deserialize, Serialize};

/// The level of a group that never raised it.
pub const LEVEL_FIRST: u32 = 1;

/// The level that brings callers: calls with a number, looks that say whose a lease is, and
/// `claim_ms`.
pub const LEVEL_CALLERS: u32 = 2;

/// The level that brings longer names, of more characters.
pub const LEVEL_NAMES: u32 = 2;

/// The highest level that this version can follow.
pub const LEVEL_MAX: u32 = if cfg!(feature = "level-1") { LEVEL_FIRST } else { 2 };

/// The feature level of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level(pub u32);

impl Level {
    /// A load of 0 is granted only while its limits have a unit free.
    pub fn gates_empty_loads(self) -> bool {
        self.0 >= 2
    }

    /// All commands of an entry share one budget of work, and left-over work does not go first.
    pub fn shares_work(self) -> bool {
        self.0 >= 2
    }

    /// A put that changes nothing makes no version.
    pub fn keeps_identical(self) -> bool {
        self.0 >= 2
    }

    /// Estimates are made when they are shown, and not kept.
    pub fn keeps_no_estimates(self) -> bool {
        self.0 >= 2
    }

    /// What is remembered is bounded in bytes.
    pub fn bounds_bytes(self) -> bool {
        self.0 >= 2
    }

    /// A name that was given back is claimed again only by who knows where it was.
    pub fn remembers_past_claims(self) -> bool {
        self.0 >= 2
    }

    /// A left-over waiting lease of a deleted resource ends as its queue did, whoever ends it.
    pub fn rejects_left_over(self) -> bool {
        self.0 >= 2
    }
}

/// The record of the level. Not there before it is raised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    pub(crate) level: u32,
}

impl Features {
    /// The level that the group has reached.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }
}
