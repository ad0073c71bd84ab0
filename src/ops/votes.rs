//! Who votes in the global group.

use std::collections::{BTreeMap, BTreeSet};

use ratequeue_api::cluster::NodeView;
use ratequeue_raft::{NodeId, tolerated_losses};

/// Voters of a region when it is the only one.
const VOTERS_OF_ONE_REGION: usize = 3;

/// The members that vote in the global group: of each region that has members those with the lowest
/// ids. Without a number of `per_region` that is one with three or more regions, two with two, at
/// most three with one. It is fewer where one region would have half of the votes otherwise, and
/// need not: the others go on without it.
pub fn global_voters<'a>(
    members: impl IntoIterator<Item = &'a NodeView>,
    per_region: Option<u32>,
) -> BTreeSet<NodeId> {
    let mut regions: BTreeMap<&str, BTreeSet<NodeId>> = BTreeMap::new();
    for node in members {
        regions.entry(&node.region).or_default().insert(node.id);
    }

    let default = match regions.len() {
        0 | 1 => VOTERS_OF_ONE_REGION,
        2 => 2,
        _ => 1,
    };
    let most = per_region.and_then(|count| usize::try_from(count).ok()).unwrap_or(default);
    let has_half = |count: &usize| {
        let votes = || regions.values().map(|ids| ids.len().min(*count));
        votes().max().unwrap_or_default() * 2 >= votes().sum()
    };
    let count = (1..=most).rev().find(|count| !has_half(count)).unwrap_or(most);
    regions.into_values().flat_map(|ids| ids.into_iter().take(count)).collect()
}

/// The voters that the group is to have instead of those of `now`, when `without` leaves; nothing
/// when it keeps them. They are kept when the group would tolerate fewer losses otherwise, unless
/// one of them has to go.
pub fn next_voters<'a>(
    now: &BTreeSet<NodeId>,
    members: impl IntoIterator<Item = &'a NodeView>,
    per_region: Option<u32>,
    without: Option<NodeId>,
) -> Option<BTreeSet<NodeId>> {
    let wanted = global_voters(members, per_region);
    let has_to_go = without.is_some_and(|id| now.contains(&id));
    let is_worse = tolerated_losses(wanted.len()) < tolerated_losses(now.len());
    (wanted != *now && (has_to_go || !is_worse)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn nodes(counts: &[u64]) -> Vec<NodeView> {
        let regions = counts.iter().enumerate();
        let named = regions.flat_map(|(nth, count)| (0..*count).map(move |n| (nth, n)));
        let node = |(nth, n): (usize, u64)| NodeView {
            id: u64::try_from(nth).unwrap() * 10 + n + 1,
            region: format!("r{nth}"),
            http: String::new(),
            peer: String::new(),
        };
        named.map(node).collect()
    }

    #[test]
    fn the_regions_that_count_are_those_with_members() {
        for (counts, voters) in [
            (vec![1], vec![1]),
            (vec![5], vec![1, 2, 3]),
            (vec![3, 1], vec![1, 2, 11]),
            (vec![3, 3], vec![1, 2, 11, 12]),
            (vec![3, 3, 1], vec![1, 11, 21]),
            (vec![3, 0, 3], vec![1, 2, 21, 22]),
        ] {
            assert_eq!(global_voters(&nodes(&counts), None), voters.into_iter().collect());
        }
        assert_eq!(global_voters(&nodes(&[3, 3]), Some(1)), [1, 11].into());
    }

    #[test]
    fn no_region_has_half_of_the_votes_that_need_not() {
        for (counts, per_region, voters) in [
            (vec![3, 3, 3], 2, vec![1, 2, 11, 12, 21, 22]),
            (vec![2, 1, 1], 2, vec![1, 11, 21]),
            (vec![3, 1, 1], 3, vec![1, 11, 21]),
            (vec![3, 2, 1], 3, vec![1, 2, 11, 12, 21]),
            (vec![3, 1, 1, 1], 3, vec![1, 2, 11, 21, 31]),
            // With two regions one of them has it anyway.
            (vec![3, 1], 3, vec![1, 2, 3, 11]),
        ] {
            let chosen = global_voters(&nodes(&counts), Some(per_region));
            assert_eq!(chosen, voters.into_iter().collect(), "{counts:?}, {per_region} each");
        }
    }
}
