//! What a group is opened with, and what openraft is told of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratequeue_storage::StateStore;

use crate::caps;
use crate::checkpoint::CheckpointPolicy;
use crate::node::{Address, NodeId};
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
    /// The other nodes that may be in the group: they are asked for its state, should this node have lost its own.
    pub others: Vec<(NodeId, Address)>,
}

/// How fast a dead leader is noticed. The same on all nodes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The longest round trip between two of its nodes, about.
    pub round_trip: Duration,
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
            round_trip: Duration::ZERO,
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
        }
    }
}

impl Timing {
    /// For a group whose nodes are this round trip apart: a heartbeat and its answer fit well into the time after which the
    /// next one is due, three may be lost before anybody asks for votes, and two candidates are mostly farther apart than
    /// votes take.
    #[must_use]
    pub fn for_round_trip(round_trip: Duration) -> Self {
        let near = Self::default();
        let margin = round_trip * 3 / 2;
        let heartbeat = near.heartbeat + margin;
        let election_min = heartbeat * 3;
        let election_max = election_min + (near.election_max - near.election_min) + margin;
        Self { round_trip, heartbeat, election_min, election_max }
    }

    /// Entries that are proposed and not yet applied. An entry takes a round trip: the farther the nodes, the more of them
    /// must be under way for the next caller not to wait for the last.
    pub(crate) fn entries_in_flight(&self) -> usize {
        let more = self.round_trip.as_millis() / caps::ENTRY_INTERVAL.as_millis();
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        caps::ENTRIES_IN_FLIGHT.saturating_add(more).min(caps::ENTRIES_IN_FLIGHT_MAX)
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
        // Of five voters, a leader that reaches one other only would keep that one from voting for a leader whom the rest follows.
        quorum_loss_probe_interval: Some(ms(timing.election_max) * 2),
        ..openraft::Config::default()
    };
    config.validate().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timing_of_no_distance_is_that_of_one_region() {
        assert_eq!(Timing::for_round_trip(Duration::ZERO), Timing::default());
        let far = Timing::for_round_trip(Duration::from_millis(80));
        assert_eq!(far.heartbeat, Duration::from_millis(170));
        assert_eq!((far.election_min, far.election_max), (Duration::from_millis(510), Duration::from_millis(780)));
        assert!(config("global", far).is_ok());
    }
}
