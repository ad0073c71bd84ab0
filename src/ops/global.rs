//! The part of the global group's leader: the votes in that group, and the end of a change.

use std::collections::BTreeSet;

use ratequeue_api::cluster::GroupView;
use ratequeue_raft::{NodeId, VoterChange};

use super::book::{AddressBook, Change, Entry};
use super::survey::RegionReport;
use super::{LAG_MAX, Refused, finish_joint, founding, next_voters};
use crate::node::{Member, Node};

/// Takes the next step in the global group; says what it waits for.
pub async fn step(node: &Node, member: &Member) -> Result<Option<String>, Refused> {
    let group = &member.global;
    if !group.is_leader() {
        return Ok(None);
    }
    let book = AddressBook::of(&group.members_applied());
    if let Some(Step::FinishVoters) = next(group.status().is_joint, &book) {
        finish_joint(group).await?;
    }
    if next(false, &AddressBook::of(&group.members_applied())).is_none() {
        return Ok(None);
    }

    group.read_barrier_local().await?;
    let book = AddressBook::of(&group.members_applied());
    match next(false, &book) {
        Some(Step::Complete) => founding::complete(node, member, &book).await,
        Some(Step::Join(entry, replaces)) => join(node, member, &book, entry, replaces).await,
        Some(Step::Leave { entry, gone, shrink }) => {
            leave(node, member, &book, entry, gone, shrink).await
        }
        Some(Step::FinishVoters) | None => Ok(None),
    }
}

/// What is to be done in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'a> {
    FinishVoters,
    Complete,
    Join(&'a Entry, Option<NodeId>),
    Leave { entry: &'a Entry, gone: bool, shrink: bool },
}

pub(super) fn next(is_joint: bool, book: &AddressBook) -> Option<Step<'_>> {
    if is_joint {
        return Some(Step::FinishVoters);
    }
    let (id, change) = book.changes().next()?;
    let entry = book.get(id)?;
    Some(match change {
        Change::Founding => Step::Complete,
        Change::Joining { replaces } => Step::Join(entry, replaces),
        Change::Leaving { gone, shrink } => Step::Leave { entry, gone, shrink },
    })
}

/// A node that votes in its region's group by now has caught up in this one too before it counts
/// here.
async fn join(
    node: &Node,
    member: &Member,
    book: &AddressBook,
    entry: &Entry,
    replaces: Option<NodeId>,
) -> Result<Option<String>, Refused> {
    let (group, id) = (&member.global, entry.node.id);
    let joined = |region: &GroupView| {
        region.voters.contains(&id) && replaces.is_none_or(|old| !region.voters.contains(&old))
    };
    if let Some(progress) = waits_for_region(node, book, entry, joined).await {
        return Ok(Some(progress));
    }

    let status = group.status();
    let follower = status.progress.get(&id).filter(|progress| progress.matched.is_some());
    match follower.map(|progress| progress.lag) {
        _ if id == group.node() => {}
        Some(lag) if lag <= LAG_MAX => {}
        Some(lag) => return Ok(Some(format!("node {id} is {lag} entries behind in group global"))),
        None => {
            return Ok(Some(format!("node {id} has not answered the leader of group global yet")));
        }
    }

    let rest = replaces.map_or_else(|| book.clone(), |old| book.without(old));
    if let Some(progress) = give_votes(node, member, &rest, replaces, false).await? {
        return Ok(Some(progress));
    }
    if let Some(old) = replaces.filter(|old| book.get(*old).is_some()) {
        group.remove_learner(old).await?;
    }
    let settled = Entry::settled(entry.node.clone());
    group.add_learners([(id, settled.address())].into()).await?;
    Ok(None)
}

async fn leave(
    node: &Node,
    member: &Member,
    book: &AddressBook,
    entry: &Entry,
    gone: bool,
    shrink: bool,
) -> Result<Option<String>, Refused> {
    let (group, id) = (&member.global, entry.node.id);
    let left = |region: &GroupView| !region.voters.contains(&id) && !region.learners.contains(&id);
    if !gone && let Some(progress) = waits_for_region(node, book, entry, left).await {
        return Ok(Some(progress));
    }

    if let Some(progress) = give_votes(node, member, &book.without(id), Some(id), shrink).await? {
        return Ok(Some(progress));
    }
    group.remove_learner(id).await?;
    Ok(None)
}

/// What the leader of the node's region has still to do, until its group is as it should be.
async fn waits_for_region(
    node: &Node,
    book: &AddressBook,
    entry: &Entry,
    is_done: impl Fn(&GroupView) -> bool,
) -> Option<String> {
    let region = &entry.node.region;
    let report = RegionReport::of(node, book, region).await;
    match report.group() {
        Some(group) if group.settled && is_done(group) => None,
        Some(_) => Some(
            report
                .progress()
                .unwrap_or_else(|| format!("group {region} has its next step to take")),
        ),
        None => Some(format!("group {region} has no leader that answers")),
    }
}

/// Sets the voters of the global group, excluding `without`. Their votes are left as they are
/// when the group would tolerate fewer losses otherwise, unless one of them has to go.
pub async fn give_votes(
    node: &Node,
    member: &Member,
    book: &AddressBook,
    without: Option<NodeId>,
    shrink: bool,
) -> Result<Option<String>, Refused> {
    let group = &member.global;
    let now: BTreeSet<NodeId> = group.status().voters.into_keys().collect();
    let per_region = node.options.cluster.global.voters_per_region;
    let Some(wanted) = next_voters(&now, book.nodes(), per_region, without) else {
        return Ok(None);
    };

    // A leader that is to lose its vote hands over first, so that nobody waits for an election.
    if !wanted.contains(&group.node()) {
        let mut refused = None;
        for to in wanted.intersection(&now) {
            match group.hand_over(Some(*to)).await {
                Ok(to) => return Ok(Some(format!("node {to} leads group global now"))),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return Err(error.into());
        }
    }

    let (add, remove) = (&wanted - &now, &now - &wanted);
    group.change_voters(VoterChange { add, remove, keep: true, shrink }).await?;
    Ok(None)
}
