//! The part of the region's leader: the votes in the group of the region.

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
    finish_joint(group).await?;
    if book.is_founding() || next(group, &book).is_none() {
        return Ok(None);
    }

    // What this node has applied may be old, and a change that was taken back must not be carried
    // out.
    member.global.read_barrier().await?;
    let book = AddressBook::of(&member.global.members_applied());
    match next(group, &book) {
        Some(Step::Join(entry, replaces)) => join(group, &entry, replaces).await,
        Some(Step::Leave(id, shrink)) => leave(group, id, shrink).await,
        None => Ok(None),
    }
}

/// What is to be done in the group.
enum Step {
    Join(Entry, Option<NodeId>),
    Leave(NodeId, bool),
}

fn next(group: &Group, book: &AddressBook) -> Option<Step> {
    let status = group.status();
    let here = |id: &NodeId| status.voters.contains_key(id) || status.learners.contains_key(id);

    for (id, change) in book.changes() {
        let Some(entry) = book.get(id).filter(|entry| entry.node.region == group.name()) else {
            continue;
        };
        match change {
            Change::Joining { replaces } => {
                let replaced = replaces.is_some_and(|old| here(&old));
                if !status.voters.contains_key(&id) || replaced {
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
    let mut members = status.voters.keys().chain(status.learners.keys());
    members.find(|id| book.get(**id).is_none()).map(|id| Step::Leave(*id, true))
}

/// A region has one group for ever: a second one would grant everything once more. So its first
/// node forms it only when the book has no other node of the region, and no name is claimed for it.
async fn form_first(member: &Member, book: &AddressBook) -> Result<Option<String>, Refused> {
    let (group, own) = (&member.region, member.region.node());
    let is_first = |book: &AddressBook| {
        let joins = book
            .get(own)
            .is_some_and(|entry| entry.change == Some(Change::Joining { replaces: None }));
        joins && book.region(group.name()) == [own].into()
    };
    if !is_first(book) {
        return Ok(None);
    }

    member.global.read_barrier().await?;
    let book = AddressBook::of(&member.global.members_applied());
    if member.has_names(group.name()) {
        return Err(Refused::RegionIsGone(group.name().to_owned()));
    }
    if let (true, Some(entry)) = (is_first(&book), book.get(own)) {
        group.form([(own, address(&entry.node))].into()).await?;
    }
    Ok(Some(format!("node {own} forms group {}", group.name())))
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
