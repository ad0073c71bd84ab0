//! What a group shows of itself.

use std::collections::BTreeMap;

use openraft::ServerState;
use openraft::metrics::RaftMetrics;

use crate::format::types::Types;
use crate::node::{Address, NodeId};

/// What a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRole {
    /// It leads.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It has the log and no vote; also a node whose group is not formed.
    Learner,
    /// The group has stopped on it.
    Stopped,
}

/// How far another node of the group is, as its leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last entry that it is known to have.
    pub matched: Option<u64>,
    /// Entries that it does not have.
    pub lag: u64,
}

/// The newest checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// Counts checkpoints, from 1.
    pub sequence: u64,
    /// The last entry in it.
    pub applied: Option<u64>,
    /// Its records.
    pub records: u64,
}

/// What a group shows of itself on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// This node.
    pub node: NodeId,
    /// What this node is in it.
    pub role: NodeRole,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// The voters and where they are.
    pub voters: BTreeMap<NodeId, Address>,
    /// A change of voters is half way: two sets of them vote. Whoever leads next has to finish it.
    pub is_joint: bool,
    /// Index of the entry that brought these members.
    pub members_index: Option<u64>,
    /// The learners and where they are.
    pub learners: BTreeMap<NodeId, Address>,
    /// Index of the last entry in this node's log.
    pub last_log_index: Option<u64>,
    /// Index of the last entry that this node knows to be committed.
    pub committed: Option<u64>,
    /// Index of the last entry that this node has applied.
    pub applied: Option<u64>,
    /// Index of the last entry that this node has purged from its log.
    pub purged: Option<u64>,
    /// The others' progress; only on the leader.
    pub progress: BTreeMap<NodeId, Progress>,
    /// The newest checkpoint on this node.
    pub checkpoint: Option<CheckpointStatus>,
    /// Bytes of this node's log on disk.
    pub log_bytes: u64,
    /// Bytes of entries that a restart would apply again, about.
    pub replay_bytes: u64,
}

impl GroupStatus {
    /// Whether these members are committed and applied here, and no change of the voters is half
    /// way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.is_joint && self.members_index.is_some() && self.applied >= self.members_index
    }

    pub(crate) fn of(name: &str, metrics: &RaftMetrics<Types>) -> Self {
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let (voters, learners) = membership
            .nodes()
            .map(|(id, address)| (*id, address.clone()))
            .partition::<BTreeMap<_, _>, _>(|(id, _)| voters.contains(id));

        let last = metrics.last_log_index;
        let progress = metrics.replication.iter().flatten().filter(|(id, _)| *id != &metrics.id);
        let progress = progress.map(|(id, matched)| {
            let matched = matched.as_ref().map(|id| id.index);
            let next = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
            (*id, Progress { matched, lag: next(last).saturating_sub(next(matched)) })
        });

        Self {
            name: name.to_owned(),
            node: metrics.id,
            role: match metrics.state {
                ServerState::Leader => NodeRole::Leader,
                ServerState::Follower => NodeRole::Follower,
                ServerState::Candidate => NodeRole::Candidate,
                ServerState::Learner => NodeRole::Learner,
                ServerState::Shutdown => NodeRole::Stopped,
            },
            leader: metrics.current_leader,
            term: metrics.current_term,
            voters,
            members_index: metrics.membership_config.log_id().as_ref().map(|id| id.index),
            is_joint: membership.get_joint_config().len() > 1,
            learners,
            last_log_index: last,
            committed: metrics.local_committed.as_ref().map(|id| id.index),
            applied: metrics.last_applied.as_ref().map(|id| id.index),
            purged: metrics.purged.as_ref().map(|id| id.index),
            progress: progress.collect(),
            checkpoint: None,
            log_bytes: 0,
            replay_bytes: 0,
        }
    }
}
