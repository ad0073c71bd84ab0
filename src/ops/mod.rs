//! Changes of the members of a cluster, decided and carried out by its leaders.
//!
//! ```text
//!  address    every node tells the global group's leader where it is, when the book says otherwise
//!  admit      the global group's leader checks a request against the committed members, and records it in the address book
//!  region     the leader of the node's region gives it a vote there, or takes it
//!  global     the global group's leader gives the votes of that group anew, and takes the record away
//!   checks     what is refused                    votes  who votes in the global group
//!   survey     looks at other nodes           view   what they see: the cluster, as this node sees it
//! ```
//! The address book is the membership of the global group, replicated to every node; a
//! [`book::Change`] in it is the record. So nobody has to be there while a change is carried out:
//! every leader looks at the book again and again ([`drive`]) and takes the next step, which does
//! nothing when it was taken already. When a leader dies, the next one goes on. One change is under
//! way at a time.
//!
//! Before there is a book, the nodes that found the cluster form its groups: see [`founding`].

mod address;
mod admit;
mod book;
mod checks;
pub mod founding;
mod global;
mod region;
mod survey;
pub mod view;
mod votes;

use std::time::Duration;

use ratequeue_raft::{ChangeError, FormError, Group, NodeId, SubmitError, VoterChange};

pub use address::tell as tell_address;
pub use admit::admit;
pub use votes::{global_voters, next_voters};

use crate::node::{Member, Node};
use book::AddressBook;

/// Pause between two steps of a change.
const STEP_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two looks at a book in which nothing is under way.
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// A learner that lacks at most this many entries has caught up: the rest comes while it is made a
/// voter.
const LAG_MAX: u64 = 100;

/// Why a change of members is refused, or a step of one cannot be taken now.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The group did not answer, or this node does not lead it.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The group refuses the change.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The group cannot be formed.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A node is not where it is said to be.
    #[error(
        "node {node} does not answer at its peer address {peer} as a node of this cluster ({why}): start it, and open the port"
    )]
    Unreached {
        /// The node.
        node: NodeId,
        /// The address.
        peer: String,
        /// What came of it.
        why: String,
    },
    /// The node and the request do not agree on its region.
    #[error(
        "node {node} was started with a file in which it is in region {theirs}, not {ours}: give all nodes the same file"
    )]
    OtherRegion {
        /// The node.
        node: NodeId,
        /// Its region, by its own file.
        theirs: String,
        /// Its region, by the request or the address book.
        ours: String,
    },
    /// Nodes run with other times for the global group.
    #[error(
        "nodes {nodes:?} were started with a longest round trip between regions of {theirs} ms, and the leader with {ours} ms: \
         restart every node, one after the other, with the file of the cluster as it is to be, and repeat this"
    )]
    OtherTiming {
        /// Those nodes.
        nodes: Vec<NodeId>,
        /// What they were started with.
        theirs: u64,
        /// What this node was started with.
        ours: u64,
    },
    /// The region has nodes whose group does not decide anything.
    #[error(
        "region {region} has nodes already ({nodes:?}), and its group has no leader: bring them back, then repeat this. If they \
         are lost for good, take them out first: `ratequeue cluster remove-node --id N` for each of them"
    )]
    NoLeader {
        /// The region.
        region: String,
        /// Its nodes.
        nodes: Vec<NodeId>,
    },
    /// The region was taken out with all that was in it.
    #[error(
        "There was a region {0}, and names are still claimed for it: give a new region a new name"
    )]
    RegionIsGone(String),
    /// Nobody could decide any more what lives in the region.
    #[error(
        "node {node} is the only voter of region {region}, where resources live: it cannot be removed. Delete them, or add \
         another node to the region first"
    )]
    OnlyVoter {
        /// The node.
        node: NodeId,
        /// Its region.
        region: String,
    },
    /// A region that may come back would be given up.
    #[error(
        "node {node} is the last of region {region}, where resources live, and does not answer: bring it back. To give up the \
         region with all that lives there, repeat this with --shrink"
    )]
    LastOfRegion {
        /// The node.
        node: NodeId,
        /// Its region.
        region: String,
    },
    /// It is the last node of the cluster.
    #[error("node {0} is the only node of the cluster: it cannot be removed")]
    LastNode(NodeId),
    /// The group would tolerate the loss of fewer nodes.
    #[error(
        "without node {node} group {group} would have the voters {voters:?} and tolerate the loss of {after} of them; now it \
         tolerates {before}. Add a node first, or use replace-node; to have fewer all the same, repeat this with --shrink"
    )]
    FewerLosses {
        /// The node.
        node: NodeId,
        /// The group.
        group: String,
        /// Who would vote.
        voters: Vec<NodeId>,
        /// How many may be lost now.
        before: usize,
        /// How many could be lost afterwards.
        after: usize,
    },
    /// The group would be left without a majority.
    #[error(
        "without node {node} only {healthy} of the {count} voters {voters:?} of group {group} would be healthy, which is no \
         majority: bring one back, or replace one that is lost, then repeat this",
        count = .voters.len()
    )]
    NoMajority {
        /// The node.
        node: NodeId,
        /// The group.
        group: String,
        /// Those of its voters that are well.
        healthy: usize,
        /// Who would vote.
        voters: Vec<NodeId>,
    },
    /// The voters of the group are just being changed. It ends by itself.
    #[error("group {0} is changing its voters")]
    Unsettled(String),
    /// The node to be replaced is none that votes.
    #[error(
        "node {node} does not vote in group {region}: use add-node for the new one, and remove-node for node {node} if it is a \
         member still"
    )]
    NoVoter {
        /// The node.
        node: NodeId,
        /// The group.
        region: String,
    },
    /// The new node is a voter beside the one that it is to replace.
    #[error(
        "node {with} votes in group {region} itself: to go on without node {node}, use remove-node"
    )]
    BothVote {
        /// The node to be replaced.
        node: NodeId,
        /// The other one.
        with: NodeId,
        /// The group.
        region: String,
    },
    /// An id names one node for ever.
    #[error(
        "a node id is never used twice: give the new node another id, and put it into the file"
    )]
    SameId,
    /// The node is no member of the cluster.
    #[error(
        "node {0} is no member of the cluster: add it first, with `ratequeue cluster add-node`"
    )]
    NoMember(NodeId),
    /// A node that founds a cluster does not agree on it.
    #[error("{0}")]
    NotFounded(String),
}

/// Carries out the changes that the address book records, as far as this node leads the groups that
/// they are about. For as long as the node runs.
pub async fn drive(node: &Node) {
    let member = node.joined().await;
    if member.regions.peers().is_none() {
        // A node that is alone has nobody to change anything with.
        return;
    }
    loop {
        let progress = step(node, member).await.unwrap_or_else(|refused| Some(refused.to_string()));
        let pause = if progress.is_some() { STEP_PAUSE } else { LOOK_PAUSE };
        node.changes.show(progress);
        tokio::time::sleep(pause).await;
    }
}

/// Takes the next step of what is under way; says what it waits for, or nothing when there is
/// nothing to do here.
async fn step(node: &Node, member: &Member) -> Result<Option<String>, Refused> {
    if AddressBook::of(&member.global.members_applied()).is_empty() {
        return founding::step(node, member).await;
    }
    let own = region::step(member).await?;
    let _one_at_a_time = node.changes.writing.lock().await;
    let all = global::step(node, member).await?;
    Ok(all.or(own))
}

/// Finishes a change of voters that its leader left half way.
async fn finish_joint(group: &Group) -> Result<(), Refused> {
    if group.status().is_joint {
        let nothing = VoterChange { keep: true, shrink: true, ..VoterChange::default() };
        group.change_voters(nothing).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
