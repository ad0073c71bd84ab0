//! What a request for a change of members is checked against, once everybody was asked.

use std::collections::BTreeSet;

use ratequeue_api::cluster::NodeView;
use ratequeue_raft::{NodeId, tolerated_losses};

use super::Refused;
use super::book::{AddressBook, Entry};
use super::survey::RegionReport;
use crate::config::GLOBAL;

/// A node that is no member yet can be one of its region: the first one, or beside those of a group
/// that has a leader.
pub fn joins_region(
    book: &AddressBook,
    new: &NodeView,
    report: &RegionReport,
    has_names: bool,
) -> Result<(), Refused> {
    let others = book.without(new.id).region(&new.region);
    match (others.is_empty(), has_names) {
        (true, true) => Err(Refused::RegionIsGone(new.region.clone())),
        (false, _) if report.group().is_none() => Err(no_leader(book, &new.region, new.id)),
        _ => Ok(()),
    }
}

/// A node can take the place of another one in the group of their region. True when it has.
pub fn takes_place(
    book: &AddressBook,
    report: &RegionReport,
    old: NodeId,
    new: NodeId,
) -> Result<bool, Refused> {
    let region = report.region.as_str();
    refuse_unsettled(report)?;
    let Some(group) = report.group() else { return Err(no_leader(book, region, new)) };
    let votes = |id: &NodeId| group.voters.contains(id);
    match (votes(&old), votes(&new)) {
        (true, true) => {
            return Err(Refused::BothVote { node: old, with: new, region: region.to_owned() });
        }
        (false, false) => return Err(Refused::NoVoter { node: old, region: region.to_owned() }),
        (false, true) if book.get(old).is_none() => return Ok(true),
        (false, true) | (true, false) => {}
    }

    let rest = group.voters.iter().copied().filter(|id| *id != old);
    let after = rest.chain([new]).collect();
    refuse_no_majority(old, region, &after, &report.healthy(region).collect())?;
    Ok(false)
}

/// The group of the region can go on without a node. True when nobody is left in the region to
/// take its vote.
pub fn leaves_region(
    book: &AddressBook,
    entry: &Entry,
    report: &RegionReport,
    has_names: bool,
    shrink: bool,
) -> Result<bool, Refused> {
    let (id, region) = (entry.node.id, &entry.node.region);
    if book.nodes().count() == 1 {
        return Err(Refused::LastNode(id));
    }
    if report.is_lost() {
        if !shrink {
            refuse_giving_up(book, id, region, has_names)?;
        }
        return Ok(true);
    }
    refuse_unsettled(report)?;
    let Some(group) = report.group() else {
        // The first node of a region, which has not formed its group, takes nothing along.
        return if report.is_unformed() { Ok(true) } else { Err(no_leader(book, region, 0)) };
    };

    let now: BTreeSet<NodeId> = group.voters.iter().copied().collect();
    let rest: BTreeSet<NodeId> = now.iter().copied().filter(|other| *other != id).collect();
    if rest == now {
        return Ok(false);
    }
    if rest.is_empty() {
        return if has_names {
            Err(Refused::OnlyVoter { node: id, region: region.clone() })
        } else {
            Ok(true)
        };
    }
    refuse_no_majority(id, region, &rest, &report.healthy(region).collect())?;
    if shrink { Ok(false) } else { refuse_fewer(id, region, &now, &rest).map(|()| false) }
}

/// The global group can go on without a node: from the voters that it has `now` to those that are
/// `wanted` then.
pub fn leaves_global(
    id: NodeId,
    now: &BTreeSet<NodeId>,
    is_settled: bool,
    wanted: &BTreeSet<NodeId>,
    healthy: &BTreeSet<NodeId>,
    shrink: bool,
) -> Result<(), Refused> {
    if !is_settled {
        return Err(Refused::Unsettled(GLOBAL.to_owned()));
    }
    refuse_no_majority(id, GLOBAL, wanted, healthy)?;
    if shrink { Ok(()) } else { refuse_fewer(id, GLOBAL, now, wanted) }
}

/// A region that is silent may come back after all: with too few nodes then, or with none of
/// what lives there.
fn refuse_giving_up(
    book: &AddressBook,
    id: NodeId,
    region: &str,
    has_names: bool,
) -> Result<(), Refused> {
    let (now, rest) = (book.region(region), book.without(id).region(region));
    if rest.is_empty() && has_names {
        return Err(Refused::LastOfRegion { node: id, region: region.to_owned() });
    }
    refuse_fewer(id, region, &now, &rest)
}

/// Half way from some voters to others both count as voters, and what a request costs cannot be
/// told.
fn refuse_unsettled(report: &RegionReport) -> Result<(), Refused> {
    match report.group() {
        Some(group) if !group.settled => Err(Refused::Unsettled(report.region.clone())),
        _ => Ok(()),
    }
}

fn no_leader(book: &AddressBook, region: &str, without: NodeId) -> Refused {
    let nodes = book.region(region).into_iter().filter(|id| *id != without).collect();
    Refused::NoLeader { region: region.to_owned(), nodes }
}

fn refuse_fewer(
    node: NodeId,
    group: &str,
    now: &BTreeSet<NodeId>,
    rest: &BTreeSet<NodeId>,
) -> Result<(), Refused> {
    let (before, after) = (tolerated_losses(now.len()), tolerated_losses(rest.len()));
    if after >= before {
        return Ok(());
    }
    Err(Refused::FewerLosses {
        node,
        group: group.to_owned(),
        voters: rest.iter().copied().collect(),
        before,
        after,
    })
}

/// Refuses what would leave the group without a majority of nodes that are well.
fn refuse_no_majority(
    node: NodeId,
    group: &str,
    rest: &BTreeSet<NodeId>,
    healthy: &BTreeSet<NodeId>,
) -> Result<(), Refused> {
    let healthy = rest.iter().filter(|id| healthy.contains(id)).count();
    if healthy * 2 > rest.len() {
        return Ok(());
    }
    Err(Refused::NoMajority {
        node,
        group: group.to_owned(),
        healthy,
        voters: rest.iter().copied().collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::tests::cluster::{Group, report_of};

    fn names(ids: impl IntoIterator<Item = NodeId>) -> Vec<NodeView> {
        let node = |id| NodeView {
            id,
            region: "eu".to_owned(),
            http: format!("http://n{id}:1"),
            peer: format!("n{id}:2"),
        };
        ids.into_iter().map(node).collect()
    }

    /// Node 6 takes the place of node 1, and the leader died half way: six nodes have a vote, of
    /// which five will be left. To let one of those six go costs nothing; of the five it does.
    #[test]
    fn what_a_request_costs_is_not_told_half_way() {
        let nodes = names(1..=6);
        let members = nodes.iter().map(|node| (node.id, Entry::settled(node.clone()).address()));
        let book = AddressBook::of(&members.collect());
        let group = Group {
            name: "eu".to_owned(),
            voters: (2..=6).collect(),
            before: Some((1..=5).collect()),
            leader: Some(2),
            ..Group::default()
        };

        let entry = book.get(6).unwrap();
        let half_way = report_of(&group, &nodes);
        let leaves = |report: &RegionReport| leaves_region(&book, entry, report, true, false);
        assert!(matches!(leaves(&half_way), Err(Refused::Unsettled(_))));
        assert!(matches!(takes_place(&book, &half_way, 2, 7), Err(Refused::Unsettled(_))));

        let settled = report_of(&Group { before: None, ..group }, &nodes);
        assert!(matches!(leaves(&settled), Err(Refused::FewerLosses { .. })));
    }
}
