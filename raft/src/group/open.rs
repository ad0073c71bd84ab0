//! Opening a group, how its parts are put together, and forming it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::errors::{InitializeError, RaftError};
use openraft::metrics::RaftMetrics;
use parking_lot::Mutex;
use ratequeue_limiter::LogTime;
use ratequeue_storage::{GroupName, LogOptions, LogStore};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::caps;
use crate::checkpoint::load;
use crate::checkpoint::slots::Slots;
use crate::checkpoint::table::SlotTable;
use crate::checkpoint::thread::Checkpointer;
use crate::consensus::abstention::Abstention;
use crate::consensus::config::config;
use crate::consensus::fetch::Sources;
use crate::consensus::log::Log;
use crate::consensus::network::Network;
use crate::consensus::state_machine::{Applier, Raft};
use crate::error::{FormError, OpenError};
use crate::format::membership::check_size;
use crate::format::types::Types;
use crate::group::handle::Group;
use crate::group::inner::Inner;
use crate::group::options::GroupOptions;
use crate::health::{self, Health};
use crate::node::{Address, NodeId};
use crate::propose::space::Space;
use crate::replica::clock::{Clock, LogClock, SystemClock};
use crate::replica::growth::CheckpointTrigger;
use crate::replica::{Machine, Replica};

/// What a group begins with.
struct Start {
    log: LogStore,
    machine: Machine,
    time: LogTime,
    slots: Arc<Slots>,
}

/// Opens the log, and finds the state that goes with it: in a slot, from the log alone, or at
/// another node.
async fn start(options: &GroupOptions, group: GroupName) -> Result<Start, OpenError> {
    let name = &options.name;
    let io = |detail: String| OpenError::Io { group: name.clone(), detail };
    let (store, dir) = (options.store.clone(), options.log_dir.clone());
    let replaceable = options.is_store_replaceable;

    let opening = tokio::task::spawn_blocking(move || {
        let (log, _) = LogStore::open(dir, LogOptions::default())
            .map_err(|error| OpenError::of_log(group.as_str(), &error))?;
        let loaded = load::load(&store, &group, &log)?;
        Ok((log, loaded, store, group))
    });

    let (log, loaded, store, group) = opening.await.map_err(|error| io(error.to_string()))??;
    let (machine, time, slots) = match loaded {
        Ok(loaded) => {
            (loaded.machine, loaded.time, Slots::new(store, group, loaded.slots, replaceable))
        }
        Err(missing) if options.others.is_empty() => {
            return Err(OpenError::Damaged { group: name.clone(), detail: missing.detail });
        }
        Err(missing) => {
            let slots = Slots::new(store, group.clone(), SlotTable::default(), replaceable);
            let transport = Arc::clone(&options.transport);
            let sources =
                Sources { nodes: options.others.clone(), transport, purged: missing.purged };
            let fetched = sources.fetch(&slots).await;
            let machine = fetched.map_err(|level| OpenError::Outdated {
                group: name.clone(),
                detail: health::outdated(level),
            })?;
            let following = log.clone();
            let followed = tokio::task::spawn_blocking(move || {
                let time = load::continue_from(&following, &machine, &group)?;
                Ok((machine, time))
            });
            let (machine, time) = followed.await.map_err(|error| io(error.to_string()))??;
            (machine, time, slots)
        }
    };

    Ok(Start { log, machine, time, slots })
}

/// Starts openraft on what was loaded.
async fn consensus(
    options: &GroupOptions,
    config: Arc<openraft::Config>,
    abstention: Abstention,
    replica: &Arc<Replica>,
    slots: &Arc<Slots>,
    log: &LogStore,
    health: &watch::Sender<Health>,
) -> Result<Raft, OpenError> {
    let group = options.name.clone();
    let applier = Applier::new(Arc::clone(replica), Arc::clone(slots), log.clone(), health.clone());
    let log_adapter = Log::new(log.clone(), Arc::clone(&replica.clock));
    let network = Network {
        group: group.clone(),
        transport: Arc::clone(&options.transport),
        patience: options.timing.election_max * caps::APPEND_PATIENCE_ELECTIONS,
        abstention,
    };

    let raft = Raft::new(options.node, config, network, log_adapter, applier).await;
    raft.map_err(|error| match &*health.borrow() {
        Health::Outdated(detail) => OpenError::Outdated { group, detail: detail.clone() },
        Health::Running | Health::Stopped | Health::Failed(_) => {
            OpenError::Io { group, detail: error.to_string() }
        }
    })
}

impl Group {
    /// Opens the group on this node: loads the newest checkpoint that is whole, replays the log,
    /// takes part.
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
    pub async fn open_with_clock(
        options: GroupOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let name = options.name.clone();
        let invalid = |detail: String| OpenError::Invalid { group: name.clone(), detail };
        let io = |detail: String| OpenError::Io { group: name.clone(), detail };
        let group =
            GroupName::new(options.name.clone()).map_err(|error| invalid(error.to_string()))?;
        let config =
            config(&options.name, options.timing).map_err(|error| invalid(error.to_string()))?;

        let Start { log, machine, time, slots } = start(&options, group).await?;
        let (checkpoints, requests) = CheckpointTrigger::new(options.checkpoint);
        let log_clock = Arc::new(LogClock::new(clock, time));
        let replica = Arc::new(Replica::new(
            options.name.clone(),
            options.node,
            machine,
            log_clock,
            checkpoints,
            log.state().last.map_or(0, |id| id.index),
        ));
        let (done, made) = watch::channel(None);
        let health = watch::Sender::new(Health::Running);
        let checkpointer = Checkpointer::start(
            Arc::clone(&replica),
            requests,
            Arc::clone(&slots),
            log.clone(),
            done,
            health.clone(),
        )
        .map_err(|error| io(error.to_string()))?;

        let abstention = match log.state().vote {
            Some(_) => Abstention::for_a_voter(options.timing.election_max),
            None => Abstention::none(),
        };
        let raft = consensus(&options, config, abstention, &replica, &slots, &log, &health).await?;

        let (queue, commands) = mpsc::channel(caps::COMMANDS_WAITING_MAX);
        let space = Arc::new(Space::new(options.log_dir, Arc::clone(&replica), Arc::clone(&slots)));
        let inner = Inner {
            replica,
            raft,
            log,
            space,
            slots,
            queue,
            health,
            stop: watch::Sender::new(false),
            drained: watch::Sender::new(false),
            timing: options.timing,
            transport: options.transport,
            abstention,
            tasks: Mutex::new(JoinSet::new()),
            checkpointer: Mutex::new(Some(checkpointer)),
        };
        inner.start_tasks(commands, made);
        let group = Self { inner: Arc::new(inner) };
        group.inner.start_tasks_of(&group);
        group.lead_if_alone().await;
        Ok(group)
    }

    /// A sole voter need not wait until it misses a leader.
    async fn lead_if_alone(&self) {
        let alone = |metrics: &RaftMetrics<Types>| {
            let mut voters = metrics.membership_config.voter_ids();
            voters.next() == Some(self.node()) && voters.next().is_none()
        };

        if !self.is_formed().await {
            return;
        }

        // The core shows its members a moment after it was started.
        let shown =
            |metrics: &RaftMetrics<Types>| metrics.membership_config.voter_ids().next().is_some();
        let metrics =
            self.inner.raft.wait(Some(caps::START_PATIENCE)).metrics(shown, "members").await;

        if metrics.is_ok_and(|metrics| alone(&metrics)) {
            // An error means that the core has stopped, which health tells.
            let _ = self.inner.raft.trigger().elect(false).await;
        }
    }

    /// Forms the group of its first voters, this node among them. Once; repeating it with the same
    /// voters does nothing. It is enough to do it on one node.
    ///
    /// # Errors
    /// [`FormError`] says why not.
    pub async fn form(&self, voters: BTreeMap<NodeId, Address>) -> Result<(), FormError> {
        if !voters.contains_key(&self.node()) {
            return Err(FormError::NotAVoter);
        }

        check_size(voters.len(), voters.values())?;
        let ids: BTreeSet<NodeId> = voters.keys().copied().collect();
        match self.inner.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => Err(FormError::NotAVoter),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                let current = self.status().voters.into_keys().collect();
                if ids == current {
                    Ok(())
                } else {
                    Err(FormError::AlreadyFormed { voters: current })
                }
            }
            Err(RaftError::Fatal(_)) => Err(FormError::Stopped),
        }
    }
}
