//! A node: its identity, its group, and what it knows about itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ratequeue_raft::{Address, CheckpointPolicy, Group, GroupOptions, Health, NoTransport, NodeId, Timing};
use ratequeue_storage::{DataDir, FORMAT, GroupName, Identity, StateError, StateOptions, StateStore};
use tokio::sync::watch;

use crate::stats::Stats;

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
            Self::State(_) | Self::Form(_) | Self::Name(_) => false,
        }
    }
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
    /// Keeps the data folder locked.
    _data: DataDir,
}

impl Node {
    /// Opens the data folder, makes it this node's if it is new, and opens the group in it.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do.
    pub async fn open(options: NodeOptions, data: &Path) -> Result<Self, StartError> {
        let name = GroupName::new(options.region.clone())?;
        let data = DataDir::open(data)?;
        let identity = own(&data, &options)?;
        let (store, _) = StateStore::open(data.state_dir(), StateOptions::default())?;
        let group = Group::open(GroupOptions {
            name: options.region.clone(),
            node: options.id,
            log_dir: data.log_dir(&name),
            store,
            timing: Timing::default(),
            checkpoint: CheckpointPolicy::default(),
            transport: Arc::new(NoTransport),
        })
        .await?;
        group.form(BTreeMap::from([(options.id, Address::default())])).await?;
        Ok(Self { options, identity, group, stats: Stats::default(), stopping: watch::Sender::new(false), _data: data })
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
        self.group.is_leader().then_some(self.options.url.as_str())
    }

    /// Resolves when the group has failed and the process has to end; says why.
    pub async fn failed(&self) -> String {
        let mut health = self.group.health();
        loop {
            if let Health::Failed(why) = &*health.borrow_and_update() {
                return why.clone();
            }
            if health.changed().await.is_err() {
                return "the group has ended".to_owned();
            }
        }
    }
}

/// Who the data folder belongs to: this node, from its first start on.
fn own(data: &DataDir, options: &NodeOptions) -> Result<Identity, ratequeue_storage::OpenError> {
    let expected = |cluster_id: String, incarnation: u64| Identity {
        format: FORMAT,
        cluster_id,
        cluster_name: options.cluster.clone(),
        node: options.id,
        region: options.region.clone(),
        incarnation,
    };
    let identity = match data.identity() {
        Some(found) => expected(found.cluster_id, found.incarnation),
        None => expected(format!("{:032x}", rand::random::<u128>()), rand::random()),
    };
    // Compares when there is one, and writes when there is none.
    data.write_identity(&identity)?;
    Ok(identity)
}
