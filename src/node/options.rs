//! What a node needs to open.

use ratequeue_api::cluster::NodeView;
use ratequeue_link::{HostPort, ListenAddress};
use ratequeue_raft::{CheckpointPolicy, NodeId};
use tokio::runtime::Handle;

use crate::config::{ClusterFile, view};

/// Required options of a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The cluster that it is meant for.
    pub cluster: ClusterFile,
    /// Its region.
    pub region: String,
    /// Its id.
    pub id: NodeId,
    /// What it tells of itself: where others reach it.
    pub own: NodeView,
    /// Where it listens for the other nodes.
    pub peer: ListenAddress,
    /// When its groups make checkpoints.
    pub checkpoint: CheckpointPolicy,
    /// Where its groups and its peer link run: threads that nothing else may occupy. It has to
    /// outlive the node.
    pub consensus: Handle,
}

impl NodeOptions {
    /// The options of a node that is alone in a cluster of its own, as `ratequeue dev` runs it; `told` is
    /// where it says that it is found.
    #[must_use]
    pub fn alone(told: &HostPort, consensus: Handle) -> Self {
        Self {
            cluster: ClusterFile::alone("dev", "local", told),
            region: "local".to_owned(),
            id: 1,
            own: view(1, "local", told, told),
            // It listens for no other node.
            peer: told.clone().into(),
            checkpoint: CheckpointPolicy::default(),
            consensus,
        }
    }
}
