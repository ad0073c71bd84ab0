//! The part of the region's leader: the votes in the group of the region.

use std::collections::BTreeSet;

use ratequeue_raft::{Group, NodeId, VoterChange};

use super::book::{AddressBook, Change, Entry};
use super::{LAG_MAX, Refused, finish_joint};
use crate::node::Member;
use crate::node::regions::address;

/// Takes the next step in the group of this node's region; says what it waits for.
pub async fn step(member: &Member) -> Result<Option<String>, Refused> {
    let group = &member.region;
    let book = AddressBook::of(&member.global.members_applied());
    if group.status().voters.is_empty() {
        return form_first(member, &book).await;
    }
    if !group.is_leader() {
        return Ok(None);
    }
    if let Some(Step::FinishVoters) = next(&Standing::of(group), &book) {
        finish_joint(group).await?;
    }
    if book.is_founding() || next(&Standing::of(group), &book).is_none() {
        return Ok(None);
    }

    // What this node has applied may be old, and a change that was taken back must not be carried
    // out.
    member.global.read_barrier().await?;
    let book = AddressBook::of(&member.global.members_applied());
    match next(&Standing::of(group), &book) {
        Some(Step::Join(entry, replaces)) => join(group, &entry, replaces).await,
        Some(Step::Leave(id, shrink)) => leave(group, id, shrink).await,
        Some(Step::FinishVoters) | None => Ok(None),
    }
}

/// Who is in the group, as its leader has it.
pub(super) struct Standing {
    pub name: String,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// A change of voters is half way.
    pub is_joint: bool,
}

impl Standing {
    fn of(group: &Group) -> Self {
        let (name, status) = (group.name().to_owned(), group.status());
        let (voters, learners) = (status.voters.into_keys(), status.learners.into_keys());
        let is_joint = status.is_joint;
        Self { name, voters: voters.collect(), learners: learners.collect(), is_joint }
    }
}

/// What is to be done in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    FinishVoters,
    Join(Entry, Option<NodeId>),
    Leave(NodeId, bool),
}

pub(super) fn next(group: &Standing, book: &AddressBook) -> Option<Step> {
    if group.is_joint {
        return Some(Step::FinishVoters);
    }
    let here = |id: &NodeId| group.voters.contains(id) || group.learners.contains(id);

    for (id, change) in book.changes() {
        let Some(entry) = book.get(id).filter(|entry| entry.node.region == group.name) else {
            continue;
        };
        match change {
            Change::Joining { replaces } => {
                let replaced = replaces.is_some_and(|old| here(&old));
                if !group.voters.contains(&id) || replaced {
                    return Some(Step::Join(entry.clone(), replaces));
                }
            }
            Change::Leaving { gone: false, shrink } if here(&id) => {
                return Some(Step::Leave(id, shrink));
            }
            Change::Leaving { .. } | Change::Founding => {}
        }
    }
    // One that was taken out of the cluster while this group could not be asked, or whose joining
    // was taken back in the same moment as it was carried out. What that costs was weighed when
    // it was asked for.
    let mut members = group.voters.iter().chain(&group.learners);
    members.find(|id| book.get(**id).is_none()).map(|id| Step::Leave(*id, true))
}

/// A region has one group for ever: a second one would grant everything once more. So its first
/// node forms it only when the book has no other node of the region, and no name is claimed for it.
async fn form_first(member: &Member, book: &AddressBook) -> Result<Option<String>, Refused> {
    let (group, own) = (&member.region, member.region.node());
    if !is_first(own, group.name(), book) {
        return Ok(None);
    }

    member.global.read_barrier().await?;
    let book = AddressBook::of(&member.global.members_applied());
    if member.has_names(group.name()) {
        return Err(Refused::RegionIsGone(group.name().to_owned()));
    }
    if let (true, Some(entry)) = (is_first(own, group.name(), &book), book.get(own)) {
        group.form([(own, address(&entry.node))].into()).await?;
    }
    Ok(Some(format!("node {own} forms group {}", group.name())))
}

pub(super) fn is_first(node: NodeId, region: &str, book: &AddressBook) -> bool {
    let joins = book
        .get(node)
        .is_some_and(|entry| entry.change == Some(Change::Joining { replaces: None }));
    joins && book.region(region) == [node].into()
}

async fn join(
    group: &Group,
    entry: &Entry,
    replaces: Option<NodeId>,
) -> Result<Option<String>, Refused> {
    let (id, name, status) = (entry.node.id, group.name(), group.status());
    if !status.voters.contains_key(&id) {
        if !status.learners.contains_key(&id) {
            group.add_learners([(id, address(&entry.node))].into()).await?;
        }
        match status
            .progress
            .get(&id)
            .filter(|progress| progress.matched.is_some())
            .map(|progress| progress.lag)
        {
            Some(lag) if lag <= LAG_MAX => {}
            Some(lag) => {
                return Ok(Some(format!("node {id} is {lag} entries behind in group {name}")));
            }
            None => {
                return Ok(Some(format!(
                    "node {id} has not answered the leader of group {name} yet"
                )));
            }
        }
    }

    let remove = replaces.into_iter().filter(|old| status.voters.contains_key(old)).collect();
    group.change_voters(VoterChange { add: [id].into(), remove, ..VoterChange::default() }).await?;
    if let Some(old) = replaces.filter(|old| group.status().learners.contains_key(old)) {
        group.remove_learner(old).await?;
    }
    Ok(Some(format!("node {id} votes in group {name}")))
}

async fn leave(group: &Group, id: NodeId, shrink: bool) -> Result<Option<String>, Refused> {
    let (name, status) = (group.name(), group.status());
    if id == group.node() {
        let to = group.hand_over(None).await?;
        return Ok(Some(format!("node {to} leads group {name} in place of node {id}")));
    }

    if status.voters.contains_key(&id) {
        let change = VoterChange { remove: [id].into(), shrink, ..VoterChange::default() };
        group.change_voters(change).await?;
    } else {
        group.remove_learner(id).await?;
    }
    Ok(Some(format!("node {id} leaves group {name}")))
}
