//! Ended leases in the order in which they are forgotten: by when they ended, and then by number.

use std::collections::VecDeque;

use crate::time::LogTime;

/// Ended leases in the order in which they are forgotten. Time does not go back, so a new one belongs near the end.
#[derive(Debug, Default)]
pub(crate) struct EndedLeases(VecDeque<(LogTime, u64)>);

impl EndedLeases {
    /// Takes one in that has ended last, or at the same time as the last.
    pub fn push(&mut self, at: LogTime, seq: u64) {
        let place = self.0.iter().rev().take_while(|other| **other > (at, seq)).count();
        self.0.insert(self.0.len() - place, (at, seq));
    }

    pub fn first(&self) -> Option<(LogTime, u64)> {
        self.0.front().copied()
    }

    pub fn pop_first(&mut self) {
        self.0.pop_front();
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, at: LogTime, seq: u64) -> bool {
        self.0.binary_search(&(at, seq)).is_ok()
    }
}

impl FromIterator<(LogTime, u64)> for EndedLeases {
    /// From leases in any order.
    fn from_iter<I: IntoIterator<Item = (LogTime, u64)>>(leases: I) -> Self {
        let mut leases: Vec<_> = leases.into_iter().collect();
        leases.sort_unstable();
        Self(leases.into())
    }
}
