//! Numbers with their bounds. They are checked once, where they are made: whoever has a
//! [`Priority`] need not look whether it is one.
//!
//! One thing is older than these types: an entry of an old log may hold a number that is out of its
//! bounds, since it was checked when the command was decided. So such a number can be read
//! ([`Deserialize`] takes it as it is), and the command that it is in is refused as it was
//! ([`crate::Command::validate`]). The stored bytes are those of the bare number.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::caps;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// From where to where a number may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    min: u64,
    max: u64,
}

impl Bounds {
    /// Bounds of quotas and bursts.
    pub const QUOTA: Self = Self { min: 1, max: caps::LOAD_MAX };
    /// Bounds of loads.
    pub const LOAD: Self = Self { min: 0, max: caps::LOAD_MAX };
    /// Bounds of times that are not nothing: windows, and how long a lease is held.
    pub const DURATION_MS: Self = Self { min: 1, max: caps::DURATION_MS_MAX };
    /// Bounds of times to wait.
    pub const WAIT_MS: Self = Self { min: 0, max: caps::DURATION_MS_MAX };
    /// Bounds of `queue.claim_ms`.
    pub const CLAIM_MS: Self = Self { min: 0, max: caps::CLAIM_MS_MAX };
    /// Bounds of `queue.max_waiting`.
    pub const MAX_WAITING: Self = Self { min: 0, max: caps::MAX_WAITING_MAX as u64 };
    /// Bounds of priorities.
    pub const PRIORITY: Self = Self { min: 0, max: caps::PRIORITY_MAX as u64 };
    /// Bounds of the number of limits of a resource.
    pub const LIMITS: Self = Self { min: 1, max: caps::LIMITS_PER_RESOURCE_MAX as u64 };

    /// True when a number is within them.
    #[must_use]
    pub fn contains(self, number: u64) -> bool {
        (self.min..=self.max).contains(&number)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)?;
        if self.max.is_multiple_of(DAY_MS) {
            write!(f, " ({} days)", self.max / DAY_MS)
        } else {
            Ok(())
        }
    }
}

/// Why a value is out of its bounds. The text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutOfBounds(pub String);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty), $name:literal, $bounds:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type($inner);

        impl $type {
            /// Checks and takes a number.
            ///
            /// # Errors
            /// [`OutOfBounds`] says what is allowed.
            pub fn new(number: u64) -> Result<Self, OutOfBounds> {
                let inner = <$inner>::try_from(number).ok().filter(|_| $bounds.contains(number));
                inner.map(Self).ok_or_else(|| OutOfBounds(format!("{} must be {}", $name, $bounds)))
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> $inner {
                self.0
            }

            /// Checks one that was read.
            pub(crate) fn check(self) -> Result<(), OutOfBounds> {
                Self::new(self.0.into()).map(|_| ())
            }
        }
    };
}

number! {
    /// The priority of an acquire: 0 (first) to 9 (last).
    Priority(u8), "priority", Bounds::PRIORITY
}
number! {
    /// How long to wait in the queue: 0 ms (not at all) to 31 days.
    WaitMs(u64), "wait_ms", Bounds::WAIT_MS
}
number! {
    /// Time to live of a held lease: 1 ms to 31 days.
    TtlMs(u64), "ttl_ms", Bounds::DURATION_MS
}

impl Priority {
    /// The priority of an acquire that names none.
    pub const DEFAULT: Self = Self(caps::PRIORITY_DEFAULT);
}

impl WaitMs {
    /// Not at all.
    pub const NONE: Self = Self(0);
}

/// Strings that a caller wants to see again with its lease: at most 16 pairs and 1 KiB in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Checks and takes metadata.
    ///
    /// # Errors
    /// [`OutOfBounds`] says what is allowed.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, OutOfBounds> {
        let metadata = Self(pairs);
        metadata.check().map(|()| metadata)
    }

    /// Checks what was read.
    pub(crate) fn check(&self) -> Result<(), OutOfBounds> {
        let (pairs_max, bytes_max) = (caps::METADATA_PAIRS_MAX, caps::METADATA_BYTES_MAX);
        if self.len() <= pairs_max && self.bytes() <= bytes_max {
            return Ok(());
        }
        Err(OutOfBounds(format!(
            "metadata must be at most {pairs_max} pairs and {bytes_max} bytes"
        )))
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Deref for Metadata {
    type Target = BTreeMap<String, String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Metadata> for BTreeMap<String, String> {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_made_within_its_bounds_only() {
        assert_eq!(Priority::new(9).unwrap().get(), 9);
        for number in [10, 256, u64::MAX] {
            assert_eq!(Priority::new(number).unwrap_err().to_string(), "priority must be 0 to 9");
        }

        assert_eq!(WaitMs::new(0).unwrap(), WaitMs::NONE);
        let month_ms = 2_678_400_000;
        assert_eq!(TtlMs::new(month_ms).unwrap().get(), month_ms);

        for number in [0, month_ms + 1] {
            assert_eq!(
                TtlMs::new(number).unwrap_err().to_string(),
                "ttl_ms must be 1 to 2678400000 (31 days)"
            );
        }

        assert_eq!(
            WaitMs::new(month_ms + 1).unwrap_err().to_string(),
            "wait_ms must be 0 to 2678400000 (31 days)"
        );
    }

    /// An old log may hold a number that is out of its bounds. It is read, and has the bytes that
    /// it had.
    #[test]
    fn a_number_of_an_old_log_is_read_as_it_is() {
        let stored = postcard::to_stdvec(&(200_u8, 0_u64, u64::MAX)).unwrap();
        let (priority, ttl, wait): (Priority, TtlMs, WaitMs) =
            postcard::from_bytes(&stored).unwrap();
        assert_eq!((priority.get(), ttl.get(), wait.get()), (200, 0, u64::MAX));
        assert!(priority.check().is_err() && ttl.check().is_err() && wait.check().is_err());
        assert_eq!(postcard::to_stdvec(&(priority, ttl, wait)).unwrap(), stored);
    }

    #[test]
    fn metadata_is_bounded_in_pairs_and_bytes() {
        let pairs = |count: usize, bytes: usize| {
            (0..count).map(|n| (format!("{n:02}"), "x".repeat(bytes))).collect()
        };
        let says = "metadata must be at most 16 pairs and 1024 bytes";
        assert_eq!(Metadata::new(pairs(16, 62)).unwrap().bytes(), 1024);
        assert_eq!(Metadata::new(pairs(16, 63)).unwrap_err().to_string(), says);
        assert_eq!(Metadata::new(pairs(17, 0)).unwrap_err().to_string(), says);
    }
}
