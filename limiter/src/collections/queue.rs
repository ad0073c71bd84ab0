//! The queue of a resource: who waits, in order, with O(log n) for every question.
//!
//! Each priority has a queue of its own. Leases join at its end, since their numbers rise. Over its
//! places lies a Fenwick tree (P. Fenwick, "A new data structure for cumulative frequency tables",
//! 1994) of counts and loads, which answers "how many, and how much, before this one" and "who is
//! the k-th". Places of leases that left stay empty until half of them are; then it is packed.

use std::collections::BTreeMap;

/// Queues of a priority shorter than this are not packed.
const PACK_LEN_MIN: usize = 32;

/// Who waits, in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) priorities: BTreeMap<u8, PriorityQueue>,
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
        debug_assert!(
            self.count >= other.count && self.load >= other.load,
            "more leave than there are"
        );
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
pub(crate) struct PriorityQueue {
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

impl PriorityQueue {
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
        let Some(place) = self.places.get_mut(at).filter(|place| place.standing != Standing::Gone)
        else {
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

impl Queue {
    /// Joins the queue. `seq` must be higher than every earlier one.
    pub fn push(&mut self, priority: u8, seq: u64, load: u64) {
        let queue = self.priorities.entry(priority).or_default();
        debug_assert!(
            queue.places.last().is_none_or(|last| last.seq < seq),
            "who comes later stands behind"
        );
        queue.push(Place { seq, load, standing: Standing::In });
    }

    /// Leaves the queue; false when it was not in it.
    pub fn remove(&mut self, priority: u8, seq: u64) -> bool {
        let Some(queue) = self.priorities.get_mut(&priority) else { return false };
        let removed = queue.stand(seq, Standing::Gone);
        if queue.kept() == 0 {
            self.priorities.remove(&priority);
        }
        removed
    }

    /// Is passed over from now on, and keeps its place.
    pub fn step_aside(&mut self, priority: u8, seq: u64) {
        self.priorities.get_mut(&priority).map(|queue| queue.stand(seq, Standing::Aside));
    }

    /// Has its turn again, at its old place.
    pub fn step_back(&mut self, priority: u8, seq: u64) {
        self.priorities.get_mut(&priority).map(|queue| queue.stand(seq, Standing::In));
    }

    /// True when it keeps a place, with a turn or without.
    pub fn keeps(&self, priority: u8, seq: u64) -> bool {
        let place =
            self.priorities.get(&priority).and_then(|queue| queue.places.get(queue.find(seq)?));
        place.is_some_and(|place| place.standing != Standing::Gone)
    }

    /// All that keep a place, with a turn or without.
    pub fn kept(&self) -> u64 {
        self.total().count + self.aside() as u64
    }

    /// Those that are passed over.
    pub fn aside(&self) -> usize {
        self.priorities.values().map(|queue| queue.aside).sum()
    }

    /// All that wait for their turn, without those that are passed over.
    pub fn total(&self) -> Sum {
        self.priorities.values().fold(Sum::default(), |sum, queue| sum.plus(queue.total))
    }

    /// True when nobody has a turn to wait for.
    pub fn is_empty(&self) -> bool {
        self.waiting().next().is_none()
    }

    /// The priorities in which somebody has a turn to wait for. There are at most ten.
    fn waiting(&self) -> impl Iterator<Item = (u8, &PriorityQueue)> {
        self.priorities
            .iter()
            .filter(|(_, queue)| queue.total.count > 0)
            .map(|(priority, queue)| (*priority, queue))
    }

    /// The next in the queue.
    pub fn head(&self) -> Option<u64> {
        self.waiting().next().and_then(|(_, queue)| queue.nth(0))
    }

    /// Somebody who keeps a place, with a turn or without.
    pub fn any(&self) -> Option<u64> {
        let kept = |queue: &PriorityQueue| {
            queue
                .places
                .iter()
                .find(|place| place.standing != Standing::Gone)
                .map(|place| place.seq)
        };
        self.head().or_else(|| self.priorities.values().find_map(kept))
    }

    /// True when a newcomer of this priority would have somebody before it.
    pub fn blocks(&self, priority: u8) -> bool {
        self.waiting().next().is_some_and(|(first, _)| first <= priority)
    }

    /// Those before this one.
    pub fn ahead(&self, priority: u8, seq: u64) -> Sum {
        let higher = self
            .priorities
            .range(..priority)
            .fold(Sum::default(), |sum, (_, queue)| sum.plus(queue.total));
        let same = self.priorities.get(&priority).map(|queue| {
            let before = queue.places.partition_point(|place| place.seq < seq);
            queue.prefix(before)
        });
        higher.plus(same.unwrap_or_default())
    }

    /// The first in the queue at or after this place.
    pub fn at_or_after(&self, priority: u8, seq: u64) -> Option<(u8, u64)> {
        let same = self.priorities.get(&priority).and_then(|queue| queue.at_or_after(seq));
        same.map(|seq| (priority, seq)).or_else(|| {
            let mut lower = self.priorities.range(priority.saturating_add(1)..);
            lower.find_map(|(priority, queue)| queue.nth(0).map(|seq| (*priority, seq)))
        })
    }

    /// The oldest of each priority.
    pub fn oldest(&self) -> impl Iterator<Item = u64> {
        self.priorities.values().filter_map(|queue| queue.nth(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the plainest model, over a fixed pseudo-random walk.
    #[test]
    fn agrees_with_a_sorted_list() {
        let mut queue = Queue::default();
        // Priority, number, load, and whether it is passed over.
        let mut model: Vec<(u8, u64, u64, bool)> = Vec::new();
        let mut random = 0x9e37_79b9_u64;

        for seq in 0..8_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let dice = random >> 33;
            if dice.is_multiple_of(4) || model.len() < 3 || seq < 300 {
                let (priority, load) = (u8::try_from(dice % 3).unwrap_or(0), dice % 1000);
                queue.push(priority, seq, load);
                model.push((priority, seq, load, false));
                model.sort_unstable();
            } else {
                let at = usize::try_from(dice).unwrap_or(0) % model.len();
                let (priority, seq, _, aside) = model[at];
                match dice % 3 {
                    0 if aside => queue.step_back(priority, seq),
                    0 => queue.step_aside(priority, seq),
                    _ => {
                        assert!(queue.remove(priority, seq));
                        assert!(!queue.remove(priority, seq));
                        model.remove(at);
                    }
                }
                if dice.is_multiple_of(3) {
                    model[at].3 = !aside;
                }
            }
            let waiting: Vec<_> = model.iter().filter(|place| !place.3).collect();
            assert_eq!(queue.head(), waiting.first().map(|(_, seq, _, _)| *seq));
            assert_eq!(queue.is_empty(), waiting.is_empty());
            assert_eq!(queue.any().is_some(), !model.is_empty());
            assert_eq!(
                (queue.total().count, queue.aside()),
                (waiting.len() as u64, model.len() - waiting.len())
            );
            if let Some((priority, seq, _, _)) = waiting.get(waiting.len() / 2) {
                let ahead = queue.ahead(*priority, *seq);
                assert_eq!(ahead.count, (waiting.len() / 2) as u64);
                let load: u64 =
                    waiting[..waiting.len() / 2].iter().map(|(_, _, load, _)| load).sum();
                assert_eq!(ahead.load, u128::from(load));
                let next = waiting
                    .get(waiting.len() / 2 + 1)
                    .map(|(priority, seq, _, _)| (*priority, *seq));
                assert_eq!(queue.at_or_after(*priority, *seq + 1), next);
            }
        }
    }
}
