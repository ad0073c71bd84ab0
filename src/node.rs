//! A node: its identity, its group, and what it knows about itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ratequeue_raft::{Address, CheckpointPolicy, Group, GroupOptions, NodeId, OpenError, Timing};
use ratequeue_storage::{DataDir, Identity, StateStore, space};
use tokio::sync::watch;

use crate::stats::Stats;

/// Below this many free bytes on its disk, a node takes on nothing new.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// How often the free space is looked at.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// What a node must be told; everything else has a default.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The name of its cluster.
    pub cluster: String,
    /// Its region.
    pub region: String,
    /// Its id.
    pub id: NodeId,
    /// The URL under which it is known to others.
    pub url: String,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder is foreign, locked or damaged.
    #[error("{0}")]
    Data(#[from] ratequeue_storage::OpenError),
    /// The log or the state cannot be opened.
    #[error("{0}")]
    Group(#[from] OpenError),
    /// The group cannot be formed.
    #[error("the group could not be formed: {0}")]
    Form(String),
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    pub options: NodeOptions,
    pub identity: Identity,
    pub group: Group,
    pub stats: Stats,
    /// True once the node is stopping.
    stopping: watch::Sender<bool>,
    /// Holds the lock of the data folder.
    data: DataDir,
}

impl Node {
    /// Opens the data folder, makes it this node's if it is new, and opens the group in it.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn open(options: NodeOptions, data: &Path) -> Result<Self, StartError> {
        let data = DataDir::open(data)?;
        let identity = match data.identity()? {
            Some(identity) => identity,
            None => {
                let identity = Identity::new(rand::random::<u128>(), &options.cluster, options.id, &options.region);
                data.write_identity(&identity)?;
                identity
            }
        };
        identity.check(&options.cluster, options.id, &options.region)?;
        let (store, _) = StateStore::open(data.state_dir())?;
        let group = Group::open(GroupOptions {
            name: options.region.clone(),
            node: options.id,
            log_dir: data.log_dir(&options.region),
            store,
            timing: Timing::default(),
            checkpoint: CheckpointPolicy::default(),
        })
        .await?;
        if !group.is_formed().await {
            let voters = BTreeMap::from([(options.id, Address::default())]);
            group.form(voters).await.map_err(|error| StartError::Form(error.to_string()))?;
        }
        Ok(Self { options, identity, group, stats: Stats::default(), stopping: watch::Sender::new(false), data })
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
    pub fn leader_url(&self) -> Option<&str> {
        (self.group.status().leader == Some(self.options.id)).then_some(self.options.url.as_str())
    }

    /// Watches the free space of the disk, for as long as the node runs: nothing new is taken on while there is too little.
    pub async fn watch_space(&self) {
        loop {
            match space::free_bytes(self.data.path()) {
                Ok(free) => self.group.set_storage_full(free < FREE_BYTES_MIN),
                Err(error) => tracing::warn!(%error, "the free space cannot be read"),
            }
            tokio::time::sleep(SPACE_INTERVAL).await;
        }
    }
}
