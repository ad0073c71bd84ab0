//! What a group is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use ratequeue_storage::StateStore;

use crate::node::{Address, NodeId};
use crate::replica::growth::CheckpointPolicy;
use crate::timing::Timing;
use crate::transport::Transport;

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
    /// The other nodes that may be in the group: they are asked for its state, should this node
    /// have lost its own.
    pub others: Vec<(NodeId, Address)>,
    /// Each group of this node has other nodes: damaged checkpoints, which all groups share, may be
    /// begun anew.
    pub is_store_replaceable: bool,
}
