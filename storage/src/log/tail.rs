//! The most recent entries, in memory, so that replication and apply read them without touching the
//! disk.

use std::collections::VecDeque;

use super::Entry;

/// A run of entries without gaps that ends with the last entry of the log. Bounded by count and
/// bytes; the oldest go first. It shares the payloads with whoever appended them.
#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    entries_max: usize,
}

impl Tail {
    pub(super) fn new(bytes_max: usize, entries_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, entries_max }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let follows = |last: &Entry| last.id.index.checked_add(1) == Some(entry.id.index);
        if !self.entries.back().is_none_or(follows) {
            self.clear();
        }
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max || self.entries.len() > self.entries_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.payload.len();
        }
    }

    /// Forgets all after `index`.
    pub(super) fn keep_upto(&mut self, index: u64) {
        while self.entries.back().is_some_and(|last| last.id.index > index) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry.payload.len();
            }
        }
    }

    /// Forgets all up to and with `index`.
    pub(super) fn drop_upto(&mut self, index: u64) {
        while self.entries.front().is_some_and(|first| first.id.index <= index) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.payload.len();
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Index of the oldest entry held here.
    pub(super) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|first| first.id.index)
    }

    /// The entries from `index` on; nothing when `index` is older than the tail.
    pub(super) fn from(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skip = self
            .first_index()
            .and_then(|first| index.checked_sub(first))
            .and_then(|skip| usize::try_from(skip).ok())
            .unwrap_or(usize::MAX);
        self.entries.iter().skip(skip)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::LogId;
    use bytes::Bytes;

    fn entry(index: u64, bytes: usize) -> Entry {
        let id = LogId { term: 1, node: 1, index };
        Entry { id, payload: Bytes::from(vec![7; bytes]) }
    }

    fn indexes(tail: &Tail, from: u64) -> Vec<u64> {
        tail.from(from).map(|entry| entry.id.index).collect()
    }

    #[test]
    fn is_bounded_by_bytes_and_by_count() {
        let mut tail = Tail::new(100, 3);
        (1..=5).for_each(|index| tail.push(entry(index, 10)));
        assert_eq!(indexes(&tail, 3), [3, 4, 5]);
        assert_eq!(indexes(&tail, 2), [] as [u64; 0]);
        tail.push(entry(6, 85));
        assert_eq!(indexes(&tail, 5), [5, 6]);
        tail.push(entry(7, 101));
        assert_eq!((tail.first_index(), tail.bytes), (None, 0));
    }

    #[test]
    fn truncate_purge_and_a_gap() {
        let mut tail = Tail::new(1_000, 100);
        (1..=9).for_each(|index| tail.push(entry(index, 1)));
        tail.keep_upto(7);
        tail.drop_upto(2);
        assert_eq!(indexes(&tail, 3), [3, 4, 5, 6, 7]);
        assert_eq!(tail.bytes, 5);
        tail.push(entry(20, 1));
        assert_eq!(indexes(&tail, 20), [20]);
        assert_eq!(tail.bytes, 1);
    }
}
