//! A node: its identity, its two groups, and what it knows about itself and the others.
//!
//! ```text
//!   options.rs      what it needs to open
//!   member.rs       its part in a cluster: the group of its region, and the global one
//!   peer_calls.rs   what nodes ask of each other, beside their groups; event_calls.rs: of events
//!   regions.rs      who is in which region, and whether it can be reached
//!   catalog.rs      where a resource lives; claiming its name
//!   counters/       what it remembers of what it did, and the metrics
//!   aside.rs        reads that are long: one at a time, on a thread of their own
//!   changes.rs      what it keeps of the changes of members in which it takes part
//!   descriptors.rs  how many files and connections the process may have
//!   ends.rs         why it does not start, or cannot go on
//! ```

pub mod aside;
pub mod catalog;
pub mod changes;
pub mod counters;
pub mod descriptors;
mod ends;
pub mod event_calls;
mod member;
mod options;
pub mod peer_calls;
pub mod regions;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use ratequeue_api::cluster::Founding;
use ratequeue_limiter::LEVEL_MAX;
use ratequeue_raft::{
    Address, Calls, Group, GroupOptions, LinkOptions, NoTransport, NodeId, Peers, Timing, Transport,
};
use ratequeue_storage::{DataDir, FORMAT, GroupName, Identity, StateOptions, StateStore};
use tokio::sync::{Notify, OnceCell, Semaphore, watch};
use tokio_util::context::TokioContext;

pub use ends::{Ended, ShutdownError, StartError};
pub use member::{Member, NoRegion};
pub use options::NodeOptions;

use crate::config::GLOBAL;
use aside::Aside;
use changes::Changes;
use counters::Stats;
use regions::{Regions, address};

/// A group of one has nobody to tell that it is there, and elects itself at once: it need not wake
/// up for either.
const ALONE: Timing = Timing {
    round_trip: Duration::ZERO,
    heartbeat: Duration::from_secs(2),
    election_min: Duration::from_secs(6),
    election_max: Duration::from_secs(12),
};

/// Between two answers with the metrics: a text serves everybody for a second, but it is long to
/// send.
const SCRAPES_APART: Duration = Duration::from_millis(50);

/// Streams of events that are open at a node.
pub const EVENT_STREAMS_MAX: usize = 256;

/// Where a node that is open is on its way. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Leaving,
    Stopping,
}

/// A running node. It answers from its first start on; it decides once it is part of a cluster.
#[derive(Debug)]
pub struct Node {
    pub options: NodeOptions,
    pub stats: Stats,
    /// Where lists are made.
    pub lists: Aside,
    /// Where the metrics are rendered.
    pub scrapes: Aside,
    /// Places for those who read events.
    pub event_streams: Arc<Semaphore>,
    pub changes: Changes,
    /// The nodes that this one founds its cluster with; `None` when it joins one.
    founding: Mutex<Option<Founding>>,
    data: DataDir,
    member: OnceCell<Member>,
    /// Told when the node became part of a cluster.
    joined: Notify,
    stage: watch::Sender<Stage>,
}

/// The node is not part of a cluster yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJoined;

impl Node {
    /// Opens the data folder, and goes on as the member it was. A cluster of one node is formed at
    /// once.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn open(options: NodeOptions, data: &Path) -> Result<Self, StartError> {
        let data = DataDir::open(data)?;
        let identity = data.identity();
        let founding = data.founding()?.map(|text| serde_json::from_str(&text)).transpose();
        let founding = founding.map_err(StartError::Founding)?;

        let node = Self {
            options,
            stats: Stats::default(),
            lists: Aside::new(Duration::ZERO),
            scrapes: Aside::new(SCRAPES_APART),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            changes: Changes::default(),
            founding: Mutex::new(founding),
            data,
            member: OnceCell::new(),
            joined: Notify::new(),
            stage: watch::Sender::new(Stage::Running),
        };

        let alone = node.options.cluster.ids().len() == 1;
        match identity {
            Some(identity) => drop(node.join(&identity.cluster_id).await?),
            None if alone => drop(node.join(&format!("{:032x}", rand::random::<u128>())).await?),
            None => {}
        }

        if let (true, Some(member)) = (alone, node.member()) {
            let place = address(&node.options.own);
            for group in member.groups() {
                group.form(BTreeMap::from([(node.options.id, place.clone())])).await?;
            }
        }

        Ok(node)
    }

    /// The nodes that this one founds its cluster with; nothing when it joins one.
    pub fn founding(&self) -> Option<Founding> {
        self.founding.lock().clone()
    }

    /// The same; nothing once the cluster is formed.
    pub fn founds(&self) -> Option<Founding> {
        let is_formed =
            self.member().is_some_and(|member| !member.global.members_applied().is_empty());
        self.founding().filter(|_| !is_formed)
    }

    /// Keeps durably which nodes this one founds its cluster with, if it does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_founding(
        &self,
        founding: Option<&Founding>,
    ) -> Result<(), ratequeue_storage::OpenError> {
        let mut kept = self.founding.lock();
        if kept.as_ref() == founding {
            return Ok(());
        }
        // A founding is made of strings and numbers, which always have a JSON form.
        let text = founding.map(|founding| serde_json::to_string(founding).unwrap_or_default());
        self.data.write_founding(text.as_deref())?;
        *kept = founding.cloned();
        Ok(())
    }

    /// Makes the node part of a cluster, unless it is part of one already; says of which.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn join(&self, cluster_id: &str) -> Result<String, StartError> {
        let opening =
            || TokioContext::new(self.open_member(cluster_id), self.options.consensus.clone());
        let member = self.member.get_or_try_init(opening).await?;
        self.joined.notify_waiters();
        Ok(member.identity.cluster_id.clone())
    }

    /// Opens the groups and the peer link. Whatever it spawns runs where it is polled: in the
    /// context of `consensus`.
    async fn open_member(&self, cluster_id: &str) -> Result<Member, StartError> {
        let options = &self.options;
        let expected = |cluster_id: String, incarnation: u64| Identity {
            format: FORMAT,
            cluster_id,
            cluster_name: options.cluster.name.clone(),
            node: options.id,
            region: options.region.clone(),
            incarnation,
        };

        let identity = match self.data.identity() {
            Some(found) => expected(found.cluster_id, found.incarnation),
            None => expected(cluster_id.to_owned(), new_incarnation()),
        };

        // Compares when there is one, and writes when there is none.
        self.data.write_identity(&identity)?;
        let (store, opened) = StateStore::open(self.data.state_dir(), StateOptions::default())?;

        let peers = if options.cluster.ids().len() > 1 {
            Some(self.start_peers(&identity).await?)
        } else {
            None
        };

        let transport: Arc<dyn Transport> = match &peers {
            Some(peers) => Arc::new(peers.clone()),
            None => Arc::new(NoTransport),
        };

        let (near, far) = match &peers {
            Some(_) => (Timing::default(), Timing::for_round_trip(options.cluster.round_trip())),
            None => (ALONE, ALONE),
        };

        // Side by side, and at work as soon as it is open: what one group lacks does not stop the
        // other.
        let open = async |name: &str, timing: Timing| {
            let group = self.open_group(name, timing, &store, &transport).await?;
            if let Some(peers) = &peers {
                peers.open(group.clone());
            }
            Ok::<_, StartError>(group)
        };

        let (region, global) = tokio::try_join!(open(&options.region, near), open(GLOBAL, far))?;
        let regions =
            Regions::new(options.own.clone(), options.cluster.clone(), global.clone(), peers);
        let moved_aside = opened.moved_aside.is_some();
        Ok(Member { identity, region, global, regions: Arc::new(regions), moved_aside })
    }

    async fn open_group(
        &self,
        name: &str,
        timing: Timing,
        store: &StateStore,
        transport: &Arc<dyn Transport>,
    ) -> Result<Group, StartError> {
        let log_dir = self.data.log_dir(&GroupName::new(name)?);
        let options = GroupOptions {
            name: name.to_owned(),
            node: self.options.id,
            log_dir,
            store: store.clone(),
            timing,
            checkpoint: self.options.checkpoint,
            transport: Arc::clone(transport),
            others: self.others_in(name),
            is_store_replaceable: !self.others_in(&self.options.region).is_empty(),
        };
        Ok(Group::open(options).await?)
    }

    /// The other nodes of the cluster file that are in a group.
    fn others_in(&self, group: &str) -> Vec<(NodeId, Address)> {
        let views = self.options.cluster.views().filter(|node| node.id != self.options.id);
        let views = views.filter(|node| group == GLOBAL || node.region == group);
        views.map(|node| (node.id, address(&node))).collect()
    }

    async fn start_peers(&self, identity: &Identity) -> Result<Peers, StartError> {
        let options = LinkOptions {
            cluster_id: identity.cluster_id.clone(),
            node: identity.node,
            incarnation: identity.incarnation,
            feature_level: LEVEL_MAX,
            listen: self.options.peer.clone(),
        };
        Ok(Peers::start(options).await?)
    }

    /// The node's part in its cluster, if it has one.
    pub fn member(&self) -> Option<&Member> {
        self.member.get()
    }

    /// The node's part in its cluster, which a call needs.
    pub fn joined_member(&self) -> Result<&Member, NotJoined> {
        self.member.get().ok_or(NotJoined)
    }

    /// Resolves once the node is part of a cluster.
    pub async fn joined(&self) -> &Member {
        loop {
            let joined = self.joined.notified();
            if let Some(member) = self.member.get() {
                return member;
            }
            joined.await;
        }
    }

    /// True once the node is on its way to stop: no new callers should come.
    pub fn is_leaving(&self) -> bool {
        *self.stage.borrow() >= Stage::Leaving
    }

    /// True once the node is stopping.
    pub fn is_stopping(&self) -> bool {
        *self.stage.borrow() >= Stage::Stopping
    }

    /// Resolves once the node is stopping.
    pub async fn stopping(&self) {
        // The sender lives as long as the node, so this ends with a value.
        let _ = self.stage.subscribe().wait_for(|stage| *stage >= Stage::Stopping).await;
    }

    /// Says from now on that the node is not ready. Calls go on.
    pub fn leave(&self) {
        self.stage.send_replace(Stage::Leaving);
    }

    /// Answers every waiting call, so that connections can end.
    pub fn stop(&self) {
        self.stage.send_replace(Stage::Stopping);
    }

    /// Counts what happens in the groups, for as long as the node runs.
    pub async fn count(&self) {
        let member = self.joined().await;
        tokio::join!(
            self.stats.follow(&member.region),
            self.stats.follow(&member.global),
            self.stats.sample(member.groups())
        );
    }

    /// Asks the other regions whether they are there, for as long as the node runs.
    pub async fn watch_regions(&self) {
        self.joined().await.regions.watch().await;
    }

    /// Answers what other nodes pass on, for as long as somebody keeps `calls`.
    pub async fn answer(&self, calls: Weak<dyn Calls>) {
        if let Some(peers) = self.joined().await.regions.peers() {
            peers.serve(calls);
        }
    }

    /// Resolves when a group has failed and the process has to end; says why.
    pub async fn failed(&self) -> Ended {
        let member = self.joined().await;
        tokio::select! {
            ended = Ended::of(&member.region) => ended,
            ended = Ended::of(&member.global) => ended,
        }
    }

    /// Hands over what this node leads, so that nobody has to wait for an election.
    pub async fn hand_over(&self) {
        let Some(member) = self.member.get() else { return };
        if member.regions.peers().is_none() {
            return;
        }
        for group in member.groups() {
            if group.is_leader()
                && group.status().voters.len() > 1
                && let Err(error) = group.hand_over(None).await
            {
                tracing::warn!(group = group.name(), %error, "leadership could not be handed over");
            }
        }
    }

    /// Stops the node's part in its cluster cleanly.
    ///
    /// # Errors
    /// What went wrong on the way; it is stopped all the same.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        let Some(member) = self.member.get() else { return Ok(()) };
        let (region, global) = tokio::join!(shut_down(&member.region), shut_down(&member.global));
        if let Some(peers) = member.regions.peers() {
            peers.shutdown().await;
        }
        region.and(global)
    }
}

async fn shut_down(group: &Group) -> Result<(), ShutdownError> {
    let stopped = group.shutdown().await;
    stopped.map_err(|error| ShutdownError { group: group.name().to_owned(), error })
}

/// Tells apart the folders that a node ever had: later ones are higher. The one use of the wall
/// clock, by people's measure of later; it decides nothing but which of two folders of the same
/// node is the new one.
fn new_incarnation() -> u64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
