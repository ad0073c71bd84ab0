//! An index by hash: finds the number behind a name in a few cache misses, however many names there are.
//!
//! A map keyed by the names themselves compares strings at every step of the way, each in another corner of memory. This
//! one orders 64-bit hashes that lie side by side, and the caller compares the one or two names that remain. It is derived
//! state: it is never iterated, so the order of the hashes decides nothing.

use std::collections::BTreeSet;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Finds numbers by the hash of a name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeSet<(u64, u64)>,
}

/// A hash that callers from outside cannot steer into long runs of equal ones.
pub(crate) fn hash(name: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.finish()
}

impl Index {
    /// The first number under `hash` that `is` accepts.
    pub fn find(&self, hash: u64, is: impl Fn(u64) -> bool) -> Option<u64> {
        self.entries.range((hash, 0)..=(hash, u64::MAX)).map(|(_, id)| *id).find(|id| is(*id))
    }

    pub fn insert(&mut self, hash: u64, id: u64) {
        self.entries.insert((hash, id));
    }

    pub fn remove(&mut self, hash: u64, id: u64) {
        self.entries.remove(&(hash, id));
    }
}
