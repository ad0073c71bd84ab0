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
    load: u64,
    standing: Standing,
}

/// Whether a place counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    In,
    /// It is kept, and passed over.
    Aside,
    Gone,
}

impl Place {
    fn sum(self) -> Sum {
        match self.standing {
            Standing::In => Sum { count: 1, load: u128::from(self.load) },
            Standing::Aside | Standing::Gone => Sum::default(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// In the order of `seq`.
    places: Vec<Place>,
    /// `tree[i]` sums the places from `i + 1 - lowbit(i + 1)` to `i`.
    tree: Vec<Sum>,
    total: Sum,
    /// Places that are kept and passed over.
    aside: usize,
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

    /// Gives a place another standing; false when it is not there, or has gone already.
    fn stand(&mut self, seq: u64, standing: Standing) -> bool {
        let Some(at) = self.find(seq) else { return false };
        let Some(place) = self.places.get_mut(at).filter(|place| place.standing != Standing::Gone) else {
            return false;
        };
        let (before, was_aside) = (place.sum(), place.standing == Standing::Aside);
        place.standing = standing;
        let after = place.sum();

        self.aside = self.aside + usize::from(standing == Standing::Aside) - usize::from(was_aside);
        self.total = self.total.minus(before).plus(after);
        let mut i = at + 1;
        while let Some(node) = self.tree.get_mut(i - 1) {
            *node = node.minus(before).plus(after);
            i += lowbit(i);
        }
        if standing == Standing::Gone {
            self.pack();
        }
        true
    }

    fn kept(&self) -> usize {
        usize::try_from(self.total.count).unwrap_or(usize::MAX).saturating_add(self.aside)
    }

    fn pack(&mut self) {
        if self.places.len() < PACK_LEN_MIN || self.kept() > self.places.len() / 2 {
            return;
        }
        let mut packed = Self { aside: self.aside, ..Self::default() };
        for place in self.places.iter().filter(|place| place.standing != Standing::Gone) {
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
        self.lanes.entry(priority).or_default().push(Place { seq, load, standing: Standing::In });
    }

    /// Leaves the line; false when it was not in it.
    pub fn remove(&mut self, priority: u8, seq: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(&priority) else { return false };
        let removed = lane.stand(seq, Standing::Gone);
        if lane.kept() == 0 {
            self.lanes.remove(&priority);
        }
        removed
    }

    /// Is passed over from now on, and keeps its place.
    pub fn step_aside(&mut self, priority: u8, seq: u64) {
        self.lanes.get_mut(&priority).map(|lane| lane.stand(seq, Standing::Aside));
    }

    /// Has its turn again, at its old place.
    pub fn step_back(&mut self, priority: u8, seq: u64) {
        self.lanes.get_mut(&priority).map(|lane| lane.stand(seq, Standing::In));
    }

    /// Those that are passed over.
    pub fn aside(&self) -> usize {
        self.lanes.values().map(|lane| lane.aside).sum()
    }

    /// All that wait for their turn, without those that are passed over.
    pub fn total(&self) -> Sum {
        self.lanes.values().fold(Sum::default(), |sum, lane| sum.plus(lane.total))
    }

    /// True when nobody has a turn to wait for.
    pub fn is_empty(&self) -> bool {
        self.waiting().next().is_none()
    }

    /// The lanes in which somebody has a turn to wait for. There are at most ten.
    fn waiting(&self) -> impl Iterator<Item = (u8, &Lane)> {
        self.lanes.iter().filter(|(_, lane)| lane.total.count > 0).map(|(priority, lane)| (*priority, lane))
    }

    /// The next in line.
    pub fn head(&self) -> Option<u64> {
        self.waiting().next().and_then(|(_, lane)| lane.nth(0))
    }

    /// Somebody who keeps a place, with a turn or without.
    pub fn any(&self) -> Option<u64> {
        let kept =
            |lane: &Lane| lane.places.iter().find(|place| place.standing != Standing::Gone).map(|place| place.seq);
        self.head().or_else(|| self.lanes.values().find_map(kept))
    }

    /// True when a newcomer of this priority would have somebody before it.
    pub fn blocks(&self, priority: u8) -> bool {
        self.waiting().next().is_some_and(|(first, _)| first <= priority)
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
            lower.find_map(|(priority, lane)| lane.nth(0).map(|seq| (*priority, seq)))
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
        // Priority, number, load, and whether it is passed over.
        let mut model: Vec<(u8, u64, u64, bool)> = Vec::new();
        let mut random = 0x9e37_79b9_u64;
        for seq in 0..8_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = random >> 33;
            if dice.is_multiple_of(4) || model.len() < 3 || seq < 300 {
                let (priority, load) = (u8::try_from(dice % 3).unwrap_or(0), dice % 1000);
                line.push(priority, seq, load);
                model.push((priority, seq, load, false));
                model.sort_unstable();
            } else {
                let at = usize::try_from(dice).unwrap_or(0) % model.len();
                let (priority, seq, _, aside) = model[at];
                match dice % 3 {
                    0 if aside => line.step_back(priority, seq),
                    0 => line.step_aside(priority, seq),
                    _ => {
                        assert!(line.remove(priority, seq));
                        assert!(!line.remove(priority, seq));
                        model.remove(at);
                    }
                }
                if dice.is_multiple_of(3) {
                    model[at].3 = !aside;
                }
            }
            let waiting: Vec<_> = model.iter().filter(|place| !place.3).collect();
            assert_eq!(line.head(), waiting.first().map(|(_, seq, _, _)| *seq));
            assert_eq!(line.is_empty(), waiting.is_empty());
            assert_eq!(line.any().is_some(), !model.is_empty());
            assert_eq!((line.total().count, line.aside()), (waiting.len() as u64, model.len() - waiting.len()));
            if let Some((priority, seq, _, _)) = waiting.get(waiting.len() / 2) {
                let ahead = line.ahead(*priority, *seq);
                assert_eq!(ahead.count, (waiting.len() / 2) as u64);
                let load: u64 = waiting[..waiting.len() / 2].iter().map(|(_, _, load, _)| load).sum();
                assert_eq!(ahead.load, u128::from(load));
                let next = waiting.get(waiting.len() / 2 + 1).map(|(priority, seq, _, _)| (*priority, *seq));
                assert_eq!(line.at_or_after(*priority, *seq + 1), next);
            }
        }
    }
}
