//! Configuration of openraft.

use std::sync::Arc;
use std::time::Duration;

use crate::caps;
use crate::timing::Timing;

/// The configuration of a group.
///
/// # Errors
/// Times that openraft does not take.
pub(crate) fn config(
    name: &str,
    timing: Timing,
) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
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
        // A follower whose log was put back, or cut, sent again what it lacks: a leader that has
        // seen more of it would panic, and its successor would send it all the same.
        allow_log_reversion: Some(true),
        // Of five voters, a leader that reaches one other only would keep that one from voting for
        // a leader whom the rest follows.
        quorum_loss_probe_interval: Some(ms(timing.election_max) * 2),
        ..openraft::Config::default()
    };

    config.validate().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_every_distance() {
        for ms in [0, 1, 80, 400] {
            assert!(
                config("global", Timing::for_round_trip(Duration::from_millis(ms))).is_ok(),
                "{ms}"
            );
        }
    }
}
