//! Ended leases in the order in which they are forgotten: by when they ended, and then by number.

use std::collections::VecDeque;

use crate::model::time::LogTime;

/// Ended leases in the order in which they are forgotten. Time does not go back, so a new one
/// belongs near the end.
#[derive(Debug, Default)]
pub(crate) struct EndedLeases {
    leases: VecDeque<(LogTime, u64)>,
    /// So many of the first have no metadata any more.
    bare: usize,
}

impl EndedLeases {
    /// Takes one in that has ended last, or at the same time as the last.
    pub fn push(&mut self, at: LogTime, seq: u64) {
        let after = self.leases.iter().rev().take_while(|other| **other > (at, seq)).count();
        let place = self.leases.len() - after;
        self.leases.insert(place, (at, seq));
        self.bare = self.bare.min(place);
        debug_assert!(
            self.leases.iter().rev().take(after + 2).is_sorted_by(|later, earlier| later > earlier)
        );
    }

    pub fn first(&self) -> Option<(LogTime, u64)> {
        self.leases.front().copied()
    }

    pub fn pop_first(&mut self) {
        if self.leases.pop_front().is_some() {
            self.bare = self.bare.saturating_sub(1);
        }
    }

    /// The first lease that has metadata. Those before it are not looked at again.
    pub fn first_with(&mut self, has_metadata: impl Fn(u64) -> bool) -> Option<u64> {
        while let Some((_, seq)) = self.leases.get(self.bare).copied() {
            if has_metadata(seq) {
                return Some(seq);
            }
            self.bare += 1;
        }
        None
    }

    pub fn len(&self) -> usize {
        self.leases.len()
    }

    pub fn contains(&self, at: LogTime, seq: u64) -> bool {
        self.leases.binary_search(&(at, seq)).is_ok()
    }
}

impl FromIterator<(LogTime, u64)> for EndedLeases {
    /// From leases in any order.
    fn from_iter<I: IntoIterator<Item = (LogTime, u64)>>(leases: I) -> Self {
        let mut leases: Vec<_> = leases.into_iter().collect();
        leases.sort_unstable();
        Self { leases: leases.into(), bare: 0 }
    }
}
