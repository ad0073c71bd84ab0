//! The line of a resource: who waits, in order, with O(log n) for every question.
//!
//! Each priority has a lane. Leases join at its end, since their numbers rise. Over the places of a lane lies a Fenwick
//! tree (P. Fenwick, "A new data structure for cumulative frequency tables", 1994) of counts and loads, which answers
//! "how many, and how much, before this one" and "who is the k-th". Places of leases that left stay empty until half of
//! them are; then the lane is packed.

use std::collections::BTreeMap;

/// Lanes shorter than this are not packed.
const PACK_LEN_MIN: usize = 32;

/// Who waits, in order.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) lanes: BTreeMap<u8, Lane>,
}

/// A count of leases and the sum of their loads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub count: u64,
    pub load: u128,
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self { count: self.count + other.count, load: self.load + other.load }
    }

    fn minus(self, other: Self) -> Self {
        Self { count: self.count - other.count, load: self.load - other.load }
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    seq: u64,
    /// `None` once the lease has left.
    load: Option<u64>,
}

impl Place {
    fn sum(self) -> Sum {
        self.load.map_or_else(Sum::default, |load| Sum { count: 1, load: u128::from(load) })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// In the order of `seq`.
    places: Vec<Place>,
    /// `tree[i]` sums the places from `i + 1 - lowbit(i + 1)` to `i`.
    tree: Vec<Sum>,
    total: Sum,
}

fn lowbit(i: usize) -> usize {
    i & i.wrapping_neg()
}

impl Lane {
    fn push(&mut self, place: Place) {
        let i = self.places.len() + 1;
        let mut sum = place.sum();
        let mut step = 1;
        while step < lowbit(i) {
            sum = sum.plus(self.node(i - step));
            step <<= 1;
        }
        self.places.push(place);
        self.tree.push(sum);
        self.total = self.total.plus(place.sum());
    }

    /// Node `i`, counted from 1.
    fn node(&self, i: usize) -> Sum {
        self.tree.get(i - 1).copied().unwrap_or_default()
    }

    /// The sum of the first `n` places.
    fn prefix(&self, n: usize) -> Sum {
        let (mut i, mut sum) = (n, Sum::default());
        while i > 0 {
            sum = sum.plus(self.node(i));
            i -= lowbit(i);
        }
        sum
    }

    fn find(&self, seq: u64) -> Option<usize> {
        self.places.binary_search_by_key(&seq, |place| place.seq).ok()
    }

    fn remove(&mut self, seq: u64) -> bool {
        let Some(at) = self.find(seq) else { return false };
        let Some(place) = self.places.get_mut(at) else { return false };
        let gone = place.sum();
        place.load = None;
        self.total = self.total.minus(gone);
        let mut i = at + 1;
        while let Some(node) = self.tree.get_mut(i - 1) {
            *node = node.minus(gone);
            i += lowbit(i);
        }
        self.pack();
        gone.count > 0
    }

    fn pack(&mut self) {
        let live = usize::try_from(self.total.count).unwrap_or(usize::MAX);
        if self.places.len() < PACK_LEN_MIN || live > self.places.len() / 2 {
            return;
        }
        let mut packed = Self::default();
        for place in self.places.iter().filter(|place| place.load.is_some()) {
            packed.push(*place);
        }
        *self = packed;
    }

    /// The lease with exactly `k` leases before it.
    fn nth(&self, k: u64) -> Option<u64> {
        if k >= self.total.count {
            return None;
        }
        let mut step = self.places.len().checked_ilog2().map_or(0, |bits| 1usize << bits);
        let (mut at, mut left) = (0, k);
        while step > 0 {
            if at + step <= self.places.len() && self.node(at + step).count <= left {
                at += step;
                left -= self.node(at).count;
            }
            step >>= 1;
        }
        self.places.get(at).map(|place| place.seq)
    }

    /// The first waiting lease at or after `seq`.
    fn at_or_after(&self, seq: u64) -> Option<u64> {
        let from = self.places.partition_point(|place| place.seq < seq);
        self.nth(self.prefix(from).count)
    }
}

impl Line {
    /// Joins the line. `seq` must be higher than every earlier one.
    pub fn push(&mut self, priority: u8, seq: u64, load: u64) {
        self.lanes.entry(priority).or_default().push(Place { seq, load: Some(load) });
    }

    /// Leaves the line; false when it was not in it.
    pub fn remove(&mut self, priority: u8, seq: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(&priority) else { return false };
        let removed = lane.remove(seq);
        if lane.total.count == 0 {
            self.lanes.remove(&priority);
        }
        removed
    }

    /// All that wait.
    pub fn total(&self) -> Sum {
        self.lanes.values().fold(Sum::default(), |sum, lane| sum.plus(lane.total))
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The next in line.
    pub fn head(&self) -> Option<u64> {
        self.lanes.values().next().and_then(|lane| lane.nth(0))
    }

    /// True when a newcomer of this priority would have somebody before it.
    pub fn blocks(&self, priority: u8) -> bool {
        self.lanes.first_key_value().is_some_and(|(first, _)| *first <= priority)
    }

    /// Those before this one.
    pub fn ahead(&self, priority: u8, seq: u64) -> Sum {
        let higher = self.lanes.range(..priority).fold(Sum::default(), |sum, (_, lane)| sum.plus(lane.total));
        let same = self.lanes.get(&priority).map(|lane| {
            let before = lane.places.partition_point(|place| place.seq < seq);
            lane.prefix(before)
        });
        higher.plus(same.unwrap_or_default())
    }

    /// The first in line at or after this place.
    pub fn at_or_after(&self, priority: u8, seq: u64) -> Option<(u8, u64)> {
        let same = self.lanes.get(&priority).and_then(|lane| lane.at_or_after(seq));
        same.map(|seq| (priority, seq)).or_else(|| {
            let mut lower = self.lanes.range(priority.saturating_add(1)..);
            lower.next().and_then(|(priority, lane)| lane.nth(0).map(|seq| (*priority, seq)))
        })
    }

    /// The oldest of each priority.
    pub fn oldest(&self) -> impl Iterator<Item = u64> {
        self.lanes.values().filter_map(|lane| lane.nth(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the plainest model, over a fixed pseudo-random walk.
    #[test]
    fn agrees_with_a_sorted_list() {
        let mut line = Line::default();
        let mut model: Vec<(u8, u64, u64)> = Vec::new();
        let mut random = 0x9e37_79b9_u64;
        for seq in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = random >> 33;
            if dice.is_multiple_of(5) || model.len() < 3 || seq < 300 {
                let (priority, load) = (u8::try_from(dice % 3).unwrap_or(0), dice % 1000);
                line.push(priority, seq, load);
                model.push((priority, seq, load));
                model.sort_unstable();
            } else {
                let at = usize::try_from(dice).unwrap_or(0) % model.len();
                let (priority, seq, _) = model.remove(at);
                assert!(line.remove(priority, seq));
                assert!(!line.remove(priority, seq));
            }
            assert_eq!(line.head(), model.first().map(|(_, seq, _)| *seq));
            assert_eq!(line.total().count, model.len() as u64);
            if let Some((priority, seq, _)) = model.get(model.len() / 2) {
                let ahead = line.ahead(*priority, *seq);
                assert_eq!(ahead.count, (model.len() / 2) as u64);
                let load: u64 = model[..model.len() / 2].iter().map(|(_, _, load)| load).sum();
                assert_eq!(ahead.load, u128::from(load));
                let next = model.get(model.len() / 2 + 1).map(|(priority, seq, _)| (*priority, *seq));
                assert_eq!(line.at_or_after(*priority, *seq + 1), next);
            }
        }
    }
}
