//! [`Group`]: the handle, and how its parts are put together and taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError, LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use parking_lot::Mutex;
use ratequeue_limiter::{Command, LeaseId, LogTime, State};
use ratequeue_storage::{GroupName, Header, LogOptions, LogStore, StateStore};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::apply::Applier;
use crate::attach::Attachment;
use crate::caps;
use crate::checkpoint::{CheckpointPolicy, Checkpointer, Growth};
use crate::clock::{Clock, LogClock, SystemClock};
use crate::error::{FormError, Health, OpenError, SubmitError};
use crate::load;
use crate::log::Log;
use crate::network::Network;
use crate::node::{Address, NodeId};
use crate::proposal::{self, Applied, Submitted};
use crate::proposer::Proposer;
use crate::receive;
use crate::replica::{EventBatch, Replica};
use crate::role::Role;
use crate::slots::Slots;
use crate::space::Space;
use crate::status::{CheckpointStatus, GroupStatus};
use crate::tick::{self, OwnCommands};
use crate::transport::{Lane, Transport};
use crate::types::Types;

pub(crate) type Raft = openraft::Raft<Types, Applier>;

/// What a group needs to be opened.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// The group's name: 1 to 64 letters, digits, `-` and `_`.
    pub name: String,
    /// This node.
    pub node: NodeId,
    /// The folder of the group's log.
    pub log_dir: PathBuf,
    /// The node's checkpoints, of all its groups.
    pub store: StateStore,
    /// How fast a dead leader is replaced.
    pub timing: Timing,
    /// When checkpoints are made.
    pub checkpoint: CheckpointPolicy,
    /// How the other nodes are reached.
    pub transport: Arc<dyn Transport>,
}

/// How fast a dead leader is noticed. The same on all nodes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a random time between this ...
    pub election_min: Duration,
    /// ... and this asks for votes. Also how long a leader may decide without hearing from a majority.
    pub election_max: Duration,
}

impl Default for Timing {
    /// 50 ms, 150 to 300 ms: for one region.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
        }
    }
}

/// One Raft group as seen from this node. A cheap handle: clones share the group, which ends with [`Group::shutdown`], or
/// abruptly with its last handle.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    replica: Arc<Replica>,
    raft: Raft,
    log: LogStore,
    slots: Arc<Slots>,
    queue: mpsc::Sender<Submitted>,
    health: watch::Sender<Health>,
    stop: watch::Sender<bool>,
    /// The proposer has ended.
    drained: watch::Sender<bool>,
    timing: Timing,
    /// Aborted with the last handle.
    tasks: Mutex<JoinSet<()>>,
    checkpointer: Mutex<Option<Checkpointer>>,
}

impl Group {
    /// Opens the group on this node: loads the newest checkpoint that is whole, replays the log, takes part.
    ///
    /// Must be called on a tokio runtime, which has to outlive the group.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when starting again cannot help, [`OpenError::Io`] when it may.
    pub async fn open(options: GroupOptions) -> Result<Self, OpenError> {
        Self::open_with_clock(options, Arc::new(SystemClock::default())).await
    }

    /// As [`Group::open`], with log time running by `clock`.
    ///
    /// # Errors
    /// As [`Group::open`].
    pub async fn open_with_clock(options: GroupOptions, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let name = options.name.clone();
        let invalid = |detail: String| OpenError::Invalid { group: name.clone(), detail };
        let io = |detail: String| OpenError::Io { group: name.clone(), detail };
        let group = GroupName::new(options.name.clone()).map_err(|error| invalid(error.to_string()))?;
        let config = config(&options.name, options.timing).map_err(|error| invalid(error.to_string()))?;

        let (store, dir) = (options.store.clone(), options.log_dir.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let (log, _) = LogStore::open(dir, LogOptions::default())
                .map_err(|error| OpenError::of_log(group.as_str(), &error))?;
            let loaded = load::load(&store, &group, &log)?;
            Ok((log, loaded, Slots::new, store, group))
        });
        let (log, loaded, slots, store, group) = opening.await.map_err(|error| io(error.to_string()))??;
        let slots = slots(store, group, loaded.book);

        let (growth, woken) = Growth::new(options.checkpoint);
        let log_clock = LogClock::new(clock, loaded.time);
        let replica = Arc::new(Replica::new(options.name.clone(), options.node, loaded.machine, log_clock, growth));
        let (done, made) = watch::channel(None);
        let health = watch::Sender::new(Health::Running);
        let checkpointer =
            Checkpointer::start(Arc::clone(&replica), woken, Arc::clone(&slots), log.clone(), done, health.clone())
                .map_err(|error| io(error.to_string()))?;

        let applier = Applier::new(Arc::clone(&replica), Arc::clone(&slots));
        let log_adapter = Log::new(log.clone(), Arc::clone(&replica));
        let network = Network {
            group: options.name.clone(),
            transport: options.transport,
            patience: options.timing.election_max * caps::APPEND_PATIENCE_ELECTIONS,
        };
        let raft = Raft::new(options.node, config, network, log_adapter, applier)
            .await
            .map_err(|error| io(error.to_string()))?;

        let (queue, commands) = mpsc::channel(caps::COMMANDS_WAITING_MAX);
        let inner = Inner {
            replica,
            raft,
            log,
            slots,
            queue,
            health,
            stop: watch::Sender::new(false),
            drained: watch::Sender::new(false),
            timing: options.timing,
            tasks: Mutex::new(JoinSet::new()),
            checkpointer: Mutex::new(Some(checkpointer)),
        };
        inner.start_tasks(commands, made, options.log_dir);
        Ok(Self { inner: Arc::new(inner) })
    }

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

    /// Forms the group of its first voters, this node among them. Once; repeating it with the same voters does nothing.
    /// It is enough to do it on one node.
    ///
    /// # Errors
    /// [`FormError`] says why not.
    pub async fn form(&self, voters: BTreeMap<NodeId, Address>) -> Result<(), FormError> {
        if !voters.contains_key(&self.node()) {
            return Err(FormError::NotAVoter);
        }
        let ids: BTreeSet<NodeId> = voters.keys().copied().collect();
        match self.inner.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => Err(FormError::NotAVoter),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                let current = self.status().voters.into_keys().collect();
                if ids == current { Ok(()) } else { Err(FormError::AlreadyFormed { voters: current }) }
            }
            Err(RaftError::Fatal(_)) => Err(FormError::Stopped),
        }
    }

    /// Puts a command into the log and returns what it came to, once it is durable on a majority and applied here.
    /// Answers within about two election timeouts, whatever happens.
    ///
    /// # Errors
    /// [`SubmitError`] says whether anything may have happened.
    pub async fn submit(&self, command: Command) -> Result<Applied, SubmitError> {
        let (answer, answered) = oneshot::channel();
        let submitted = Submitted { command, answer, since: Instant::now() };
        self.inner.queue.try_send(submitted).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => SubmitError::ShuttingDown,
        })?;
        // Every command is answered. Without a proposer (its runtime is gone) it was not, and nobody knows.
        answered.await.unwrap_or(Err(SubmitError::UnknownOutcome))
    }

    /// Attaches a call that waits for a lease: as long as it exists, and this node leads, the lease is kept alive.
    #[must_use]
    pub fn attach(&self, lease: LeaseId) -> Attachment {
        Attachment::new(Arc::clone(&self.inner.replica), lease)
    }

    /// Returns when [`Group::read`] shows everything that was acknowledged anywhere before this call. On the leader only.
    ///
    /// # Errors
    /// [`SubmitError::NotLeader`], [`SubmitError::NoQuorum`], or [`SubmitError::ShuttingDown`].
    pub async fn linearize(&self) -> Result<(), SubmitError> {
        // A majority that answered this recently cannot have elected another leader. The tenth is for clocks of unequal speed.
        let age = self.inner.timing.election_max.mul_f32(0.9);
        let option = LinearizerOption::new(Some(age), true).with_wait_timeout(self.inner.timing.election_max);
        match self.inner.raft.ensure_linearizable(option).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(proposal::not_leader(&forward, self.node()))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(SubmitError::NoQuorum),
            Err(RaftError::Fatal(_)) => Err(SubmitError::ShuttingDown),
        }
    }

    /// Reads the state of this node, which may lag behind the group's. The second argument is log time now, as this node
    /// estimates it. To be kept short: it holds up the next entry.
    pub fn read<R>(&self, read: impl FnOnce(&State, LogTime) -> R) -> R {
        self.inner.replica.read(read)
    }

    /// What happens in the group, while this node leads. A receiver that falls behind misses some.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<EventBatch>> {
        self.inner.replica.events.subscribe()
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
        status.replay_bytes = self.inner.replica.growth.bytes();
        status
    }

    /// The last applied log index and the digest of the state there: equal on all nodes that have applied as much. 0 and
    /// the digest of the empty state before the first entry.
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
        receive::one(&self.inner.raft, frame).await
    }

    /// Answers the frames that [`Transport::stream`] brings from another node of the group. They must come in order. The
    /// answers have to be polled; dropping them ends it.
    #[must_use]
    pub fn receive_stream(&self, lane: Lane, frames: BoxStream<'static, Bytes>) -> BoxStream<'static, Bytes> {
        match lane {
            Lane::Control | Lane::Log => receive::appends(&self.inner.raft, frames),
            Lane::Bulk => receive::snapshot(self.inner.raft.clone(), Arc::clone(&self.inner.slots), frames),
        }
    }

    /// Makes a checkpoint now and returns the last log index in it.
    ///
    /// # Errors
    /// What stood in the way.
    pub async fn checkpoint(&self) -> Result<Option<u64>, String> {
        let header = self.inner.replica.growth.request().await?;
        Ok(header.applied.map(|id| id.index))
    }

    #[cfg(test)]
    pub(crate) fn close_log(&self) {
        // Only a failure of the mark would be reported; the files are closed all the same.
        let _ = self.inner.log.close();
    }

    /// Stops the group cleanly: no new commands, the entries in flight get their time, a last checkpoint, all durable.
    ///
    /// # Errors
    /// What went wrong on the way; the group is stopped all the same.
    pub async fn shutdown(&self) -> Result<(), String> {
        self.inner.shutdown().await
    }
}

impl Group {
    pub(crate) fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    pub(crate) fn roles(&self) -> watch::Receiver<Role> {
        self.inner.replica.roles.subscribe()
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.inner.replica.roles.get().leader
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name()).field("node", &self.node()).finish_non_exhaustive()
    }
}

impl Inner {
    fn start_tasks(
        &self,
        commands: mpsc::Receiver<Submitted>,
        made: watch::Receiver<Option<Header>>,
        log_dir: PathBuf,
    ) {
        let proposer = Proposer {
            raft: self.raft.clone(),
            replica: Arc::clone(&self.replica),
            queue: commands,
            stop: self.stop.subscribe(),
            health: self.health.subscribe(),
            space: Space::new(log_dir),
            patience: self.timing.election_max * 2 + caps::SUBMIT_GRACE,
        };
        let own = OwnCommands { queue: self.queue.downgrade() };
        let mut tasks = self.tasks.lock();
        let drained = self.drained.clone();
        tasks.spawn(async move {
            proposer.run().await;
            drained.send_replace(true);
        });
        tasks.spawn(watch_role(self.raft.clone(), Arc::clone(&self.replica), self.health.clone()));
        tasks.spawn(purge(self.raft.clone(), Arc::clone(&self.slots), made));
        tasks.spawn(tick::tick(Arc::clone(&self.replica), own.clone()));
        tasks.spawn(tick::keep_alive(Arc::clone(&self.replica), own));
    }

    async fn shutdown(&self) -> Result<(), String> {
        self.stop.send_replace(true);
        self.replica.attachments.stop();
        // An error would mean that the sender is gone, and this is it.
        let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
        let checkpoint = match &*self.health.borrow() {
            Health::Running => Ok(()),
            Health::Stopped => return Ok(()),
            Health::Failed(detail) => Err(detail.clone()),
        };
        let stopped = self.raft.shutdown().await.map_err(|error| error.to_string());
        let checkpoint = match checkpoint {
            Ok(()) => self.replica.growth.request().await.map(drop),
            failed => failed,
        };
        let checkpointer = self.checkpointer.lock().take();
        let log = self.log.clone();
        let closed = tokio::task::spawn_blocking(move || {
            drop(checkpointer);
            log.close().map_err(|error| error.to_string())
        });
        let closed = closed.await.unwrap_or_else(|error| Err(error.to_string()));
        self.tasks.lock().abort_all();
        self.health.send_if_modified(|health| {
            let running = *health == Health::Running;
            if running {
                *health = Health::Stopped;
            }
            running
        });
        checkpoint.and(stopped).and(closed)
    }
}

/// Follows openraft's view of who leads, and notices when it dies.
async fn watch_role(raft: Raft, replica: Arc<Replica>, health: watch::Sender<Health>) {
    let mut server = raft.server_metrics();
    let metrics = raft.metrics();
    // The sender of the metrics lives as long as the core, which a handle here would not keep from stopping.
    drop(raft);
    loop {
        let role = {
            let metrics = server.borrow_watched();
            let leading = (metrics.state.is_leader() && metrics.vote.committed).then_some(metrics.vote.leader_id);
            Role { leading, leader: metrics.current_leader }
        };
        set_role(&replica, role);
        if server.changed().await.is_err() {
            break;
        }
    }
    set_role(&replica, Role::default());
    let ended = match &metrics.borrow_watched().running_state {
        Err(openraft::errors::Fatal::Stopped) => None,
        Err(fatal) => Some(fatal.to_string()),
        Ok(()) => Some("the consensus core has died".to_owned()),
    };
    if let Some(detail) = ended {
        tracing::error!(group = replica.group, detail, "the group has failed");
        health.send_if_modified(|health| {
            let first = *health == Health::Running;
            if first {
                *health = Health::Failed(detail);
            }
            first
        });
    }
}

fn set_role(replica: &Replica, role: Role) {
    let before = replica.roles.set(role);
    if before.leading.is_some() && before.leading != role.leading {
        replica.attachments.wake_all();
    }
    if before.leader != role.leader {
        tracing::info!(group = replica.group, leader = role.leader, leading = role.leading.is_some(), "leader");
    }
}

/// After a checkpoint: openraft learns of it, and the log is purged up to the older one.
async fn purge(raft: Raft, slots: Arc<Slots>, mut made: watch::Receiver<Option<Header>>) {
    while made.changed().await.is_ok() {
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
        if let Some(upto) = slots.older().and_then(|older| older.applied)
            && raft.trigger().purge_log(upto.index).await.is_err()
        {
            return;
        }
    }
}

fn config(name: &str, timing: Timing) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = openraft::Config {
        cluster_name: name.to_owned(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        enable_pre_vote: Some(true),
        // A process that comes back asks for votes like everybody else.
        enable_leader_restore: Some(false),
        broadcast_submitted_on_append: Some(true),
        // Checkpoints are ours to make, and the log is purged when we say so.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // A follower gets entries for as long as the log has them.
        replication_lag_threshold: u64::MAX,
        backoff: caps::BACKOFF.to_owned(),
        max_payload_entries: caps::REPLICATE_ENTRIES_MAX,
        max_append_entries: Some(caps::APPEND_ENTRIES_MAX),
        api_channel_size: Some(caps::CORE_REQUESTS_MAX),
        notification_channel_size: Some(caps::CORE_NOTIFICATIONS_MAX),
        ..openraft::Config::default()
    };
    config.validate().map(Arc::new)
}
