//! [`Group`]: the handle.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use ratequeue_limiter::{Command, LogTime, State};
use tokio::sync::{mpsc, oneshot, watch};

use crate::caps;
use crate::consensus::receive;
use crate::consensus::state_machine::Raft;
use crate::error::SubmitError;
use crate::group::inner::Inner;
use crate::group::status::{CheckpointStatus, GroupStatus};
use crate::health::Health;
use crate::node::{Address, NodeId};
use crate::propose::proposal::{self, Applied, Submitted};
use crate::propose::proposer;
use crate::propose::space::{DiskStatus, Room};
use crate::replica::Replica;
use crate::replica::growth::CheckpointSkipped;
use crate::replica::journal::EventReader;
use crate::replica::role::Role;
use crate::time_left;
use crate::timing::Timing;
use crate::transport::{Lane, Transport};

/// One Raft group as seen from this node. A cheap handle: clones share the group, which ends with
/// [`Group::shutdown`], or abruptly with its last handle.
#[derive(Clone)]
pub struct Group {
    pub(super) inner: Arc<Inner>,
}

/// A handle that does not keep the group alive.
pub(crate) struct WeakGroup(Weak<Inner>);

impl WeakGroup {
    pub fn upgrade(&self) -> Option<Group> {
        self.0.upgrade().map(|inner| Group { inner })
    }
}

impl Group {
    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.replica.group
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.replica.node
    }

    /// Whether the group has members, as far as this node knows.
    pub async fn is_formed(&self) -> bool {
        self.inner.raft.is_initialized().await.unwrap_or(false)
    }

    /// Puts a command into the log and returns what it came to, once it is durable on a majority
    /// and applied here. Answers within about two election timeouts, whatever happens.
    ///
    /// # Errors
    /// [`SubmitError`] says whether anything may have happened.
    pub async fn submit_local(&self, command: Command) -> Result<Applied, SubmitError> {
        let (answer, answered) = oneshot::channel();
        let submitted = Submitted { command, answer, since: Instant::now() };
        self.inner.queue.try_send(submitted).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => SubmitError::ShuttingDown,
        })?;
        // Every command is answered. If the proposer is gone, no answer comes and the outcome is
        // unknown.
        let mut applied = answered.await.unwrap_or(Err(SubmitError::UnknownOutcome))?;
        // What was decided a moment ago is told as it is now.
        time_left::show(&mut applied.outcome, self.inner.replica.clock.now());
        Ok(applied)
    }

    /// Returns when [`Group::read`] shows everything that was acknowledged anywhere before this
    /// call. On the leader only.
    ///
    /// # Errors
    /// [`SubmitError::NotLeader`], [`SubmitError::NoQuorum`], or [`SubmitError::ShuttingDown`].
    pub async fn read_barrier_local(&self) -> Result<(), SubmitError> {
        // A majority that answered this recently cannot have elected another leader, not even one
        // whose nodes have shorter timeouts than this. The tenth is for clocks of unequal
        // speed.
        let age = self.inner.timing.election_max.min(Timing::default().election_max).mul_f32(0.9);

        if self.is_leader() && self.leaderless_for() > self.inner.timing.election_max {
            return Err(SubmitError::NoQuorum);
        }

        let option = LinearizerOption::new(Some(age), true)
            .with_wait_timeout(self.inner.timing.election_max);
        match self.inner.raft.ensure_linearizable(option).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(proposal::not_leader(&forward, self.node()))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(SubmitError::NoQuorum)
            }
            Err(RaftError::Fatal(_)) => Err(SubmitError::ShuttingDown),
        }
    }

    /// Reads the state of this node, which may lag behind the group's. The second argument is log
    /// time now, as this node estimates it. To be kept short: it holds up the next entry.
    pub fn read<R>(&self, read: impl FnOnce(&State, LogTime) -> R) -> R {
        self.inner.replica.read(read)
    }

    /// What happens in the group, as this node applies it: after a log index, or from now on. The
    /// journal has the last [`caps::JOURNAL_EVENTS_MAX`] events.
    #[must_use]
    pub fn events(&self, after: Option<u64>) -> EventReader {
        let after = after.unwrap_or_else(|| self.applied_index().unwrap_or_default());
        EventReader::new(&self.inner.replica, after)
    }

    /// How the group stands, as far as this node knows.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let mut status = GroupStatus::of(self.name(), &self.inner.raft.metrics().borrow_watched());
        status.checkpoint = self.inner.slots.newest().map(|newest| CheckpointStatus {
            sequence: newest.header.sequence,
            applied: newest.header.applied.map(|id| id.index),
            records: newest.header.records,
        });
        status.log_bytes = self.inner.log.disk_bytes();
        status.replay_bytes = self.inner.replica.checkpoints.bytes();
        status
    }

    /// How the disk of the group stands; `None` when free space cannot be read. Blocks for a
    /// moment.
    #[must_use]
    pub fn disk(&self) -> Option<DiskStatus> {
        self.inner.space.status()
    }

    /// The last applied log index and the digest of the state there: equal on all nodes that have
    /// applied as much. 0 and the digest of the empty state before the first entry.
    pub async fn digest(&self) -> (u64, u64) {
        let mut machine = self.inner.replica.machine.write();
        (machine.applied.map_or(0, |id| id.index), machine.state.digest())
    }

    /// Whether the group works. After [`Health::Failed`] the process has to end.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.subscribe()
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.inner.replica.roles.leading()
    }

    /// Answers a frame that [`Transport::call`] brought from another node of the group.
    pub async fn receive(&self, frame: Bytes) -> Bytes {
        let Inner { raft, replica, slots, abstention, .. } = &*self.inner;
        receive::one(raft, replica, slots, *abstention, frame).await
    }

    /// Answers the frames that [`Transport::stream`] brings from another node of the group. They
    /// must come in order. The answers have to be polled; dropping them ends it.
    #[must_use]
    pub fn receive_stream(
        &self,
        lane: Lane,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Bytes> {
        match lane {
            Lane::Control | Lane::Log => {
                receive::appends(&self.inner.raft, Arc::clone(&self.inner.replica), frames)
            }
            Lane::Forward | Lane::Call => Box::pin(futures::stream::empty()),
            Lane::Bulk => {
                receive::snapshot(self.inner.raft.clone(), Arc::clone(&self.inner.slots), frames)
            }
        }
    }

    /// Makes a checkpoint now and returns the last log index in it.
    ///
    /// # Errors
    /// What stood in the way.
    pub async fn checkpoint(&self) -> Result<Option<u64>, CheckpointSkipped> {
        let header = self.inner.replica.checkpoints.request().await?;
        Ok(header.applied.map(|id| id.index))
    }

    #[cfg(test)]
    pub(crate) fn close_log(&self) {
        // Only a failure of the mark would be reported; the files are closed all the same.
        let _ = self.inner.log.close();
    }
}

impl Group {
    pub(crate) fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.inner.replica
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }

    pub(crate) fn timing(&self) -> Timing {
        self.inner.timing
    }

    pub(crate) fn downgrade(&self) -> WeakGroup {
        WeakGroup(Arc::downgrade(&self.inner))
    }

    /// The feature level of the group, as far as this node has applied.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.inner.replica.level()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.inner.space.room() == Room::Enough
    }

    /// The last log index that this node has applied.
    #[must_use]
    pub fn applied_index(&self) -> Option<u64> {
        self.inner.replica.machine.read().applied.map(|id| id.index)
    }

    /// Everybody in the group, voters and learners, as of the last entry that this node has
    /// applied: what decisions are made by. [`Group::addresses`] may know more, and take it
    /// back.
    #[must_use]
    pub fn members_applied(&self) -> BTreeMap<NodeId, Address> {
        let machine = self.inner.replica.machine.read();
        machine
            .membership
            .membership()
            .nodes()
            .map(|(id, address)| (*id, address.clone()))
            .collect()
    }

    /// Everybody in the group, voters and learners, and where they are, as of the last entry in
    /// this node's log, whether it is committed or not: whom to talk to.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, Address> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .membership()
            .nodes()
            .map(|(id, address)| (*id, address.clone()))
            .collect()
    }

    /// Where a member is; `None` when it is none.
    #[must_use]
    pub fn address_of(&self, node: NodeId) -> Option<Address> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&node).cloned()
    }

    /// Returns once this node has applied this log index.
    ///
    /// # Errors
    /// [`SubmitError::NoQuorum`] when it has not in bounded time: it may be cut off from the
    /// leader.
    pub async fn wait_applied(&self, index: u64) -> Result<(), SubmitError> {
        if self.applied_index().is_some_and(|applied| applied >= index) {
            return Ok(());
        }
        let wait = self.inner.raft.wait(Some(caps::FORWARD_TIMEOUT));
        wait.applied_index_at_least(Some(index), "read")
            .await
            .map(drop)
            .map_err(|_too_late| SubmitError::NoQuorum)
    }

    pub(crate) fn roles(&self) -> watch::Receiver<Role> {
        self.inner.replica.roles.subscribe()
    }

    /// Notes what a leader said of its quorum.
    pub(crate) fn record_quorum(&self, has_one: bool) {
        self.inner.replica.leader_contact.record_quorum(has_one);
    }

    /// For how long this node has known no leader that works.
    pub(crate) fn leaderless_for(&self) -> Duration {
        if self.is_leader() {
            return proposer::quorum_silence(&self.inner.raft).unwrap_or_default();
        }
        let contact = &self.inner.replica.leader_contact;
        contact.silence().max(contact.without_quorum())
    }

    /// Who leads, as far as this node knows: nobody that it has not heard from for an election
    /// timeout, nor this node itself when it has not heard from a majority for so long.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let (replica, limit) = (&self.inner.replica, self.inner.timing.election_max);
        let is_near = |leader: &NodeId| {
            if *leader == self.node() {
                self.leaderless_for() <= limit
            } else {
                replica.leader_contact.within(limit)
            }
        };
        replica.roles.get().leader.filter(is_near)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name())
            .field("node", &self.node())
            .finish_non_exhaustive()
    }
}
