//! What a group is opened with, and what openraft is told of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratequeue_storage::StateStore;

use crate::caps;
use crate::checkpoint::CheckpointPolicy;
use crate::node::NodeId;
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

pub(crate) fn config(name: &str, timing: Timing) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
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
