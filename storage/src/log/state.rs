//! How a log is kept, and what it holds.

use std::time::Duration;

use raft_log::RaftLog;

use super::record::{LogId, Vote, WalTypes};
use crate::caps;

/// How a log is kept. The defaults are right outside of tests.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// How long the flush thread gathers more requests before it writes and syncs.
    pub batch_wait: Duration,
    /// Size at which a new chunk file is started, in bytes.
    pub chunk_bytes_max: usize,
    /// Records after which a new chunk file is started.
    pub chunk_records_max: usize,
    /// Recent entries kept in memory, in bytes of payload.
    pub tail_bytes_max: usize,
    /// Recent entries kept in memory, by number.
    pub tail_entries_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            batch_wait: caps::LOG_BATCH_WAIT,
            chunk_bytes_max: caps::LOG_CHUNK_BYTES_MAX,
            chunk_records_max: caps::LOG_CHUNK_RECORDS_MAX,
            tail_bytes_max: caps::LOG_TAIL_BYTES_MAX,
            tail_entries_max: caps::LOG_TAIL_ENTRIES_MAX,
        }
    }
}

/// What a log holds. The entries in it are those after `purged` up to and with `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry; equal to `purged` when all are purged.
    pub last: Option<LogId>,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last entry known to be committed. Kept without fsync, so it may be older after a crash.
    pub committed: Option<LogId>,
    /// Whether opening made this log: there was nothing in its folder.
    pub created: bool,
}

impl LogState {
    pub(super) fn of(log: &RaftLog<WalTypes>, created: bool) -> Self {
        let state = log.log_state();
        Self {
            purged: state.purged().map(|id| id.0),
            last: state.last().map(|id| id.0),
            vote: state.vote().map(|vote| vote.0),
            committed: state.committed().map(|id| id.0),
            created,
        }
    }

    /// Index of the first entry that is in the log, or would be the next one.
    pub fn first_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index.saturating_add(1))
    }

    /// Index after the last entry.
    pub fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index.saturating_add(1))
    }
}
