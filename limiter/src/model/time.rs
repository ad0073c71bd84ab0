//! Log time: the only time the core knows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An instant of log time: microseconds since the group began. It is stamped on log entries by the
/// leader, never goes back, and never runs faster than real time; it is no wall clock.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogTime(pub u64);

impl LogTime {
    /// The instant `us` microseconds later; the end of time when that overflows.
    #[must_use]
    pub fn after_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// The instant `ms` milliseconds later; the end of time when that overflows.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        self.after_us(us(ms))
    }

    /// Microseconds from `earlier` to this instant; 0 when `earlier` is later.
    #[must_use]
    pub fn since_us(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds from `now` to this instant, rounded up; 0 when it has passed.
    #[must_use]
    pub fn in_ms(self, now: Self) -> u64 {
        self.since_us(now).div_ceil(1000)
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// Milliseconds as microseconds, saturating.
#[must_use]
pub(crate) fn us(ms: u64) -> u64 {
    ms.saturating_mul(1000)
}
