//! Claims that were given back, found by their names and forgotten in the order of their ends.

use std::collections::BTreeSet;

use crate::model::name::ResourceName;
use crate::model::time::LogTime;

/// Claims that were given back, found by their names and forgotten in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct PastClaimIndex {
    by_name: BTreeSet<(ResourceName, u64)>,
    by_end: BTreeSet<(LogTime, u64)>,
}

impl PastClaimIndex {
    pub fn insert(&mut self, name: &ResourceName, at: LogTime, id: u64) {
        self.by_name.insert((name.clone(), id));
        self.by_end.insert((at, id));
        debug_assert_eq!(self.by_name.len(), self.by_end.len(), "each claim is listed twice");
    }

    pub fn remove(&mut self, name: &ResourceName, at: LogTime, id: u64) {
        self.by_name.remove(&(name.clone(), id));
        self.by_end.remove(&(at, id));
        debug_assert_eq!(self.by_name.len(), self.by_end.len(), "each claim is listed twice");
    }

    /// The claims of a name, the last one first.
    pub fn of<'a>(&'a self, name: &ResourceName) -> impl Iterator<Item = u64> + use<'a> {
        self.by_name.range((name.clone(), 0)..=(name.clone(), u64::MAX)).rev().map(|(_, id)| *id)
    }

    /// The claim that was given back first.
    pub fn first(&self) -> Option<(LogTime, u64)> {
        self.by_end.first().copied()
    }

    pub fn has(&self, name: &ResourceName, at: LogTime, id: u64) -> bool {
        self.by_name.contains(&(name.clone(), id)) && self.by_end.contains(&(at, id))
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}
