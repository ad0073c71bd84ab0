//! Members: who follows, who votes, who leads. One change at a time, on the leader.
//!
//! A node joins as a learner, catches up, and only then votes: so a change never leaves the group
//! without a majority that has the log. Changes of voters go through openraft's joint membership
//! (Raft dissertation, chapter 4.3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};

use crate::caps;
use crate::error::SubmitError;
use crate::format::membership::check_size;
use crate::format::types::Types;
use crate::group::handle::Group;
use crate::node::{Address, NodeId};
use crate::propose::proposal;

/// Why a change of members was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead, or the group did not answer.
    #[error(transparent)]
    Submit(SubmitError),
    /// Another change is under way.
    #[error("another change of members is under way")]
    InProgress,
    /// The change cannot be made.
    #[error("{0}")]
    Refused(String),
    /// The group would tolerate the loss of fewer voters than it does.
    #[error(
        "group {group} would go on after the loss of {after} of its voters, and does after the loss of {before} now"
    )]
    FewerLosses {
        /// The group.
        group: String,
        /// How many voters may be lost now.
        before: usize,
        /// How many could be lost afterwards.
        after: usize,
    },
    /// Too few of the new voters answer the leader.
    #[error(
        "only {answering} of the {voters} voters that group {group} would have answer, which is no majority"
    )]
    NoMajority {
        /// The group.
        group: String,
        /// Those that answer.
        answering: usize,
        /// All of them.
        voters: usize,
    },
    /// The voter that leadership was handed to did not take it in time. This node then still leads,
    /// or nobody does.
    #[error("node {to} did not take over within {} ms", .within.as_millis())]
    NotTaken {
        /// That voter.
        to: NodeId,
        /// How long it was waited for.
        within: Duration,
    },
}

/// A change of the voters of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoterChange {
    /// Members that vote from now on.
    pub add: BTreeSet<NodeId>,
    /// Voters that vote no longer.
    pub remove: BTreeSet<NodeId>,
    /// Those that vote no longer become learners. Otherwise they are no members any more.
    pub keep: bool,
    /// The group may tolerate the loss of fewer voters afterwards.
    pub shrink: bool,
}

impl VoterChange {
    /// The voters of a group afterwards, which are `now` before, when some of them answer its
    /// leader.
    ///
    /// # Errors
    /// As [`Group::change_voters`].
    pub fn voters(
        &self,
        group: &str,
        now: &BTreeSet<NodeId>,
        answers: impl Fn(NodeId) -> bool,
    ) -> Result<BTreeSet<NodeId>, ChangeError> {
        let wanted: BTreeSet<NodeId> =
            now.union(&self.add).filter(|node| !self.remove.contains(node)).copied().collect();
        let (before, after) = (tolerated_losses(now.len()), tolerated_losses(wanted.len()));

        let group = group.to_owned();
        if wanted.is_empty() {
            return Err(ChangeError::Refused(format!("group {group} would have no voter")));
        }
        if after < before && !self.shrink {
            return Err(ChangeError::FewerLosses { group, before, after });
        }
        if wanted != *now {
            let answering = wanted.iter().filter(|node| answers(**node)).count();
            if answering * 2 <= wanted.len() {
                return Err(ChangeError::NoMajority { group, answering, voters: wanted.len() });
            }
        }
        Ok(wanted)
    }
}

/// How many of so many voters may be lost before there is no majority.
#[must_use]
pub fn tolerated_losses(voters: usize) -> usize {
    voters.saturating_sub(1) / 2
}

impl Group {
    /// Adds learners, or gives members other addresses. Returns once that is in the log of a
    /// majority; catching up goes on after it.
    ///
    /// # Errors
    /// [`ChangeError`]; on another node than the leader [`SubmitError::NotLeader`].
    pub async fn add_learners(&self, nodes: BTreeMap<NodeId, Address>) -> Result<(), ChangeError> {
        let status = self.status();
        let known = |node: &NodeId| status.voters.get(node).or_else(|| status.learners.get(node));
        let (moved, added): (BTreeMap<_, _>, BTreeMap<_, _>) = nodes
            .into_iter()
            .filter(|(node, at)| known(node) != Some(at))
            .partition(|(node, _)| known(node).is_some());

        if let Some((node, level)) = self.first_behind(added.keys()) {
            let group = self.level();
            return Err(ChangeError::Refused(format!(
                "node {node} follows feature level {level} only, and group {} is at {group}: install the version that the \
                 others run on it",
                self.name()
            )));
        }

        let members = status.voters.len() + status.learners.len() + added.len();
        check_size(members, moved.values().chain(added.values()))
            .map_err(|error| ChangeError::Refused(error.to_string()))?;
        for change in [ChangeMembers::SetNodes(moved), ChangeMembers::AddNodes(added)] {
            let (ChangeMembers::SetNodes(nodes) | ChangeMembers::AddNodes(nodes)) = &change else {
                continue;
            };
            if nodes.is_empty() {
                continue;
            }
            self.change(change, true).await?;
        }

        Ok(())
    }

    /// Gives a member another address. Returns once that is in the log of a majority.
    ///
    /// # Errors
    /// [`ChangeError`], also for a node that is no member; on another node than the leader
    /// [`SubmitError::NotLeader`].
    pub async fn set_address(&self, node: NodeId, address: Address) -> Result<(), ChangeError> {
        let status = self.status();
        if !status.voters.contains_key(&node) && !status.learners.contains_key(&node) {
            return Err(ChangeError::Refused(format!(
                "node {node} is no member of group {}",
                self.name()
            )));
        }
        self.add_learners([(node, address)].into()).await
    }

    /// A node that has said that it cannot follow the group, and what it can.
    fn first_behind<'a>(
        &self,
        mut nodes: impl Iterator<Item = &'a NodeId>,
    ) -> Option<(NodeId, u32)> {
        let level = self.level();
        nodes.find_map(|node| {
            let follows = self.transport().feature_level(*node)?;
            (follows < level).then_some((*node, follows))
        })
    }

    /// Gives members a vote and takes it from others, in one step. Repeating it finishes a change
    /// that broke off half way.
    ///
    /// # Errors
    /// [`ChangeError`]; on another node than the leader [`SubmitError::NotLeader`].
    /// [`ChangeError::FewerLosses`] unless the change says that it may, and
    /// [`ChangeError::NoMajority`] when the leader hears from too few of the new voters.
    pub async fn change_voters(&self, change: VoterChange) -> Result<(), ChangeError> {
        let now: BTreeSet<NodeId> = self.status().voters.into_keys().collect();
        let answering = self.answered_within(self.timing().election_max);
        let answers = |node: NodeId| node == self.node() || answering.contains(&node);
        change.voters(self.name(), &now, answers)?;

        let VoterChange { add, remove, keep, shrink: _ } = change;
        let changes = vec![ChangeMembers::AddVoterIds(add), ChangeMembers::RemoveVoters(remove)];
        self.change(ChangeMembers::Batch(changes), keep).await
    }

    /// Removes a learner.
    ///
    /// # Errors
    /// [`ChangeError`]; on another node than the leader [`SubmitError::NotLeader`].
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node])), false).await
    }

    /// Makes a change; waits for one that is just ending, as the last one of a new leader's
    /// predecessor. A change of voters has two steps, and goes on to its end when the caller
    /// leaves after the first.
    async fn change(
        &self,
        change: ChangeMembers<NodeId, Address>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let give_up = Instant::now() + caps::CHANGE_PATIENCE;
        loop {
            let (raft, change) = (self.raft().clone(), change.clone());
            let changing =
                tokio::spawn(async move { raft.change_membership(change, retain).await });
            let changed = changing
                .await
                .map_err(|_ended| ChangeError::Submit(SubmitError::UnknownOutcome))?;
            match changed.map_err(|error| self.change_error(error)) {
                Err(ChangeError::InProgress) if Instant::now() < give_up => {
                    tokio::time::sleep(caps::RETRY_PAUSE).await
                }
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Hands leadership to another voter and returns who leads then. Without a choice it goes to
    /// the voter that has most of the log, of those that answer. On the leader only.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when nobody can take it, [`ChangeError::NotTaken`] when nobody did.
    pub async fn hand_over(&self, to: Option<NodeId>) -> Result<NodeId, ChangeError> {
        let status = self.status();
        if !self.is_leader() {
            return Err(ChangeError::Submit(SubmitError::NotLeader { leader: status.leader }));
        }

        if let Some(to) = to
            && !status.voters.contains_key(&to)
        {
            return Err(ChangeError::Refused(format!(
                "node {to} does not vote in group {}",
                self.name()
            )));
        }

        let answering = self.answered_within(self.timing().election_max);
        if let Some(to) = to
            && to != self.node()
            && !answering.contains(&to)
        {
            return Err(ChangeError::Refused(format!("node {to} does not answer")));
        }

        let others = status
            .voters
            .keys()
            .copied()
            .filter(|node| *node != self.node() && answering.contains(node));

        let most_of_the_log =
            |node: &NodeId| status.progress.get(node).map(|progress| progress.matched);
        let Some(to) = to.or_else(|| others.max_by_key(most_of_the_log)) else {
            return Err(ChangeError::Refused("there is no other voter that answers".to_owned()));
        };

        let stopped = |_| ChangeError::Submit(SubmitError::ShuttingDown);
        self.raft().trigger().transfer_leader(to).await.map_err(stopped)?;
        self.led_by(to, caps::TRANSFER_TIMEOUT).await
    }

    async fn led_by(&self, node: NodeId, within: Duration) -> Result<NodeId, ChangeError> {
        let deadline = tokio::time::sleep_until((Instant::now() + within).into());
        let mut roles = self.roles();
        let led = tokio::select! {
            led = roles.wait_for(|role| role.leader == Some(node)) => led.is_ok(),
            () = deadline => false,
        };
        led.then_some(node).ok_or(ChangeError::NotTaken { to: node, within })
    }

    /// The members that this leader heard from in so long.
    pub(crate) fn answered_within(&self, limit: Duration) -> BTreeSet<NodeId> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.heartbeat.iter().flatten();
        heard
            .filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() <= limit))
            .map(|(id, _)| *id)
            .collect()
    }

    fn change_error(&self, error: RaftError<Types, ClientWriteError<Types>>) -> ChangeError {
        match error {
            RaftError::Fatal(_) => ChangeError::Submit(SubmitError::ShuttingDown),
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ChangeError::Submit(proposal::not_leader(&forward, self.node()))
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_),
            )) => ChangeError::InProgress,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                ChangeError::Refused(error.to_string())
            }
            RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_),
            ) => ChangeError::Submit(SubmitError::UnknownOutcome),
        }
    }
}
