//! A node: its identity, its group, and what it knows about itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ratequeue_raft::{
    Address, CheckpointPolicy, Group, GroupOptions, Health, LinkError, LinkOptions, NoTransport, NodeId, Peers, Timing,
    Transport,
};
use ratequeue_storage::{DataDir, FORMAT, GroupName, Identity, StateError, StateOptions, StateStore};
use tokio::sync::{Notify, OnceCell, watch};

use crate::config::ClusterFile;
use crate::stats::Stats;

/// What this version can do; a cluster uses what all its voters can.
pub const FEATURE_LEVEL: u32 = 1;

/// A group of one has nobody to tell that it is there, and elects itself at once: it need not wake up for either.
const ALONE: Timing = Timing {
    heartbeat: Duration::from_secs(2),
    election_min: Duration::from_secs(6),
    election_max: Duration::from_secs(12),
};

/// What a node must be told; everything else has a default.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The cluster that it is meant for.
    pub cluster: ClusterFile,
    /// Its region.
    pub region: String,
    /// Its id.
    pub id: NodeId,
    /// The URL under which it is known to others.
    pub url: String,
    /// Where it listens for the other nodes.
    pub peer: SocketAddr,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] ratequeue_storage::OpenError),
    /// The checkpoints cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The group cannot be opened.
    #[error(transparent)]
    Group(#[from] ratequeue_raft::OpenError),
    /// The group cannot be formed.
    #[error(transparent)]
    Form(#[from] ratequeue_raft::FormError),
    /// The other nodes cannot be listened for.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The region has no name that a group can have.
    #[error(transparent)]
    Name(#[from] ratequeue_storage::InvalidGroupName),
}

impl StartError {
    /// True when the data folder is foreign, locked or damaged: starting again does not help.
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::Data(error) => error.needs_operator(),
            Self::Group(error) => error.is_damaged(),
            Self::State(_) | Self::Form(_) | Self::Link(_) | Self::Name(_) => false,
        }
    }
}

/// A running node. It answers from its first start on; it decides once it is part of a cluster.
#[derive(Debug)]
pub struct Node {
    pub options: NodeOptions,
    pub stats: Stats,
    data: DataDir,
    member: OnceCell<Member>,
    /// Told when the node became part of a cluster.
    joined: Notify,
    /// True once the node is stopping.
    stopping: watch::Sender<bool>,
}

/// A node's part in its cluster.
#[derive(Debug)]
pub struct Member {
    pub identity: Identity,
    pub group: Group,
    /// The other nodes; `None` in a cluster of one.
    peers: Option<Peers>,
}

/// The node is not part of a cluster yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJoined;

impl Node {
    /// Opens the data folder, and goes on as the member it was. A cluster of one node is formed at once.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn open(options: NodeOptions, data: &Path) -> Result<Self, StartError> {
        let data = DataDir::open(data)?;
        let identity = data.identity();
        let node = Self {
            options,
            stats: Stats::default(),
            data,
            member: OnceCell::new(),
            joined: Notify::new(),
            stopping: watch::Sender::new(false),
        };
        let alone = node.options.cluster.ids().len() == 1;
        match identity {
            Some(identity) => drop(node.join(&identity.cluster_id).await?),
            None if alone => drop(node.join(&format!("{:032x}", rand::random::<u128>())).await?),
            None => {}
        }
        if let (true, Ok(group)) = (alone, node.group()) {
            group.form(BTreeMap::from([(node.options.id, Address::default())])).await?;
        }
        Ok(node)
    }

    /// Makes the node part of a cluster, unless it is part of one already; says of which.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn join(&self, cluster_id: &str) -> Result<String, StartError> {
        let member = self.member.get_or_try_init(|| self.open_member(cluster_id)).await?;
        self.joined.notify_waiters();
        Ok(member.identity.cluster_id.clone())
    }

    async fn open_member(&self, cluster_id: &str) -> Result<Member, StartError> {
        let options = &self.options;
        let name = GroupName::new(options.region.clone())?;
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
        let (store, _) = StateStore::open(self.data.state_dir(), StateOptions::default())?;
        let peers = if options.cluster.ids().len() > 1 { Some(self.start_peers(&identity).await?) } else { None };
        let transport: Arc<dyn Transport> = match &peers {
            Some(peers) => Arc::new(peers.clone()),
            None => Arc::new(NoTransport),
        };
        let group = Group::open(GroupOptions {
            name: options.region.clone(),
            node: options.id,
            log_dir: self.data.log_dir(&name),
            store,
            timing: if peers.is_some() { Timing::default() } else { ALONE },
            checkpoint: CheckpointPolicy::default(),
            transport,
        })
        .await?;
        if let Some(peers) = &peers {
            peers.open(group.clone());
        }
        Ok(Member { identity, group, peers })
    }

    async fn start_peers(&self, identity: &Identity) -> Result<Peers, StartError> {
        let options = LinkOptions {
            cluster_id: identity.cluster_id.clone(),
            node: identity.node,
            incarnation: identity.incarnation,
            feature_level: FEATURE_LEVEL,
            listen: self.options.peer,
        };
        Ok(Peers::start(options).await?)
    }

    /// The node's part in its cluster, if it has one.
    pub fn member(&self) -> Option<&Member> {
        self.member.get()
    }

    /// The group of the node's region.
    pub fn group(&self) -> Result<&Group, NotJoined> {
        self.member.get().map(|member| &member.group).ok_or(NotJoined)
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

    /// True once the node is stopping.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Resolves once the node is stopping.
    pub async fn stopping(&self) {
        // The sender lives as long as the node, so this ends with a value.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Answers every waiting call, so that connections can end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// The URL of the node that leads the group, if this node knows it.
    pub fn leader_url(&self) -> Option<String> {
        let leader = self.group().ok()?.leader()?;
        if leader == self.options.id {
            return Some(self.options.url.clone());
        }
        let known = self.options.cluster.node(leader).map(|(_, node)| node.view().http);
        // A node that came later may be missing in this one's file; the members know where it is.
        known.or_else(|| self.group().ok()?.address_of(leader)?.0.split(' ').nth(1).map(str::to_owned))
    }

    /// Counts what happens in the group, for as long as the node runs.
    pub async fn count(&self) {
        self.stats.follow(self.joined().await.group.events()).await;
    }

    /// Resolves when the group has failed and the process has to end; says why.
    pub async fn failed(&self) -> String {
        let mut health = self.joined().await.group.health();
        loop {
            if let Health::Failed(why) = &*health.borrow_and_update() {
                return why.clone();
            }
            if health.changed().await.is_err() {
                return "the group has ended".to_owned();
            }
        }
    }

    /// Hands over what this node leads, so that nobody has to wait for an election.
    pub async fn hand_over(&self) {
        let Some(Member { group, peers: Some(_), .. }) = self.member.get() else { return };
        if group.is_leader()
            && let Err(error) = group.hand_over(None).await
        {
            tracing::warn!(%error, "leadership could not be handed over");
        }
    }

    /// Stops the node's part in its cluster cleanly.
    ///
    /// # Errors
    /// What went wrong on the way; it is stopped all the same.
    pub async fn shutdown(&self) -> Result<(), String> {
        let Some(member) = self.member.get() else { return Ok(()) };
        let stopped = member.group.shutdown().await;
        if let Some(peers) = &member.peers {
            peers.shutdown().await;
        }
        stopped
    }
}

/// Tells apart the folders that a node ever had: later ones are higher. The one use of the wall clock, by people's measure
/// of later; it decides nothing but which of two folders of the same node is the new one.
fn new_incarnation() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
