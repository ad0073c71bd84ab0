//! The tasks of a group while it runs, and how they end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use openraft::async_runtime::WatchReceiver;
use ratequeue_storage::{Header, LogError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;

use crate::caps;
use crate::checkpoint::slots::Slots;
use crate::consensus::state_machine::Raft;
use crate::group::handle::Group;
use crate::group::inner::Inner;
use crate::group::tick::{self, OwnCommands};
use crate::group::{raise, room};
use crate::health::{Health, fail};
use crate::propose::proposal::Submitted;
use crate::propose::proposer::Proposer;
use crate::replica::Replica;
use crate::replica::growth::CheckpointSkipped;
use crate::replica::role::Role;

/// Why a group did not stop cleanly. It is stopped all the same.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// It had failed before.
    #[error("{0}")]
    Failed(String),
    /// There is no last checkpoint: a restart has more of the log to apply.
    #[error(transparent)]
    Checkpoint(CheckpointSkipped),
    /// The log was not closed as it should be.
    #[error(transparent)]
    Log(LogError),
    /// A task of it panicked.
    #[error(transparent)]
    Task(JoinError),
}

impl Group {
    /// Stops the group cleanly: no new commands, the entries in flight get their time, a last
    /// checkpoint, all durable.
    ///
    /// # Errors
    /// What went wrong on the way; the group is stopped all the same.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        self.inner.shutdown().await
    }
}

impl Inner {
    /// Starts the tasks that live as long as the group.
    pub fn start_tasks(
        &self,
        commands: mpsc::Receiver<Submitted>,
        made: watch::Receiver<Option<Header>>,
    ) {
        let proposer = Proposer {
            raft: self.raft.clone(),
            replica: Arc::clone(&self.replica),
            queue: commands,
            stop: self.stop.subscribe(),
            health: self.health.subscribe(),
            space: Arc::clone(&self.space),
            transport: Arc::clone(&self.transport),
            patience: self.timing.election_max * 2 + caps::SUBMIT_GRACE,
            lease: self.timing.election_max,
            entries_in_flight: self.timing.entries_in_flight(),
        };

        let own = OwnCommands { queue: self.queue.downgrade() };
        let mut tasks = self.tasks.lock();
        let drained = self.drained.clone();
        let proposing = guarded(self.health.clone(), "proposer", proposer.run());

        tasks.spawn(async move {
            proposing.await;
            drained.send_replace(true);
        });

        let role = watch_role(self.raft.clone(), Arc::clone(&self.replica), self.health.clone());
        tasks.spawn(guarded(self.health.clone(), "role", role));
        tasks.spawn(guarded(
            self.health.clone(),
            "purge",
            purge(self.raft.clone(), Arc::clone(&self.slots), made),
        ));

        let raising = raise::raise(
            self.raft.clone(),
            Arc::clone(&self.replica),
            Arc::clone(&self.transport),
            own.clone(),
        );

        tasks.spawn(guarded(self.health.clone(), "level", raising));
        let shortening =
            room::shorten_log(Arc::clone(&self.replica), Arc::clone(&self.space), self.log.clone());
        tasks.spawn(guarded(self.health.clone(), "room", shortening));
        let keeping = tick::keep_all(Arc::clone(&self.replica), own.clone());
        tasks.spawn(guarded(self.health.clone(), "places", keeping));
        let ticking = tick::tick(Arc::clone(&self.replica), Arc::clone(&self.space), own);
        tasks.spawn(guarded(self.health.clone(), "tick", ticking));
    }

    /// Starts the tasks that need a handle of their own.
    pub fn start_tasks_of(&self, group: &Group) {
        let mut tasks = self.tasks.lock();
        let keeping = tick::keep_alive(Arc::clone(&self.replica), group.downgrade());
        tasks.spawn(guarded(self.health.clone(), "keepalive", keeping));
        let making_room =
            room::hand_over(Arc::clone(&self.replica), Arc::clone(&self.space), group.downgrade());
        tasks.spawn(guarded(self.health.clone(), "hand over", making_room));
    }

    /// The end of [`Group::shutdown`].
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        self.stop.send_replace(true);
        self.replica.attachments.stop();

        // An error would mean that the sender is gone, and this is it.
        let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
        let checkpoint = match &*self.health.borrow() {
            Health::Running => Ok(()),
            Health::Stopped => return Ok(()),
            Health::Failed(detail) | Health::Outdated(detail) => {
                Err(ShutdownError::Failed(detail.clone()))
            }
        };

        let stopped = self.raft.shutdown().await.map_err(ShutdownError::Task);
        let empty = self.replica.machine.read().applied.is_none();
        let checkpoint = match checkpoint {
            Ok(()) if !empty => {
                self.replica.checkpoints.request_last().await.map_err(ShutdownError::Checkpoint)
            }
            other => other,
        };

        let checkpointer = self.checkpointer.lock().take();
        let log = self.log.clone();
        let closed = tokio::task::spawn_blocking(move || {
            drop(checkpointer);
            log.close().map_err(ShutdownError::Log)
        });

        let closed = closed.await.unwrap_or_else(|error| Err(ShutdownError::Task(error)));
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

/// A task without which the group does not work: should it panic, the group has failed.
async fn guarded(
    health: watch::Sender<Health>,
    task: &'static str,
    run: impl Future<Output = ()> + Send,
) {
    if AssertUnwindSafe(run).catch_unwind().await.is_err() {
        fail(&health, format!("the task {task} panicked"));
    }
}

/// Follows openraft's view of who leads, and notices when it dies.
async fn watch_role(raft: Raft, replica: Arc<Replica>, health: watch::Sender<Health>) {
    let mut server = raft.server_metrics();
    let metrics = raft.metrics();

    // The sender of the metrics lives as long as the core, which a handle here would not keep from
    // stopping.
    drop(raft);
    loop {
        let role = {
            let metrics = server.borrow_watched();
            let leading = (metrics.state.is_leader() && metrics.vote.committed)
                .then_some(metrics.vote.leader_id);
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
        fail(&health, detail);
    }
}

fn set_role(replica: &Replica, role: Role) {
    let before = replica.roles.set(role);
    if before.leader != role.leader {
        // What the last one said of its quorum says nothing about the next.
        replica.leader_contact.record_quorum(true);
        tracing::info!(
            group = replica.group,
            leader = role.leader,
            leading = role.leading.is_some(),
            "leader"
        );
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
