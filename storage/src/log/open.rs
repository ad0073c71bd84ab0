//! Opening a log: what raft-log finds, and what it does not look for.

use std::fs;
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_log::chunked_wal::{self, ChunkedWal};
use raft_log::{ChunkId, Config, RaftLog, RaftWalTypes};

use super::mark::Mark;
use super::record::WalTypes;
use super::{LogError, LogOptions, LogState};
use crate::caps;
use crate::file::create_dir_durable;
use crate::keys;

/// The log in `dir`, and whether it is new.
pub(super) fn open(
    dir: &Path,
    options: &LogOptions,
) -> Result<(RaftLog<WalTypes>, bool), LogError> {
    let wal = dir.join(keys::DIR_WAL);
    let io = |error: io::Error| io_error(dir, &error);
    create_dir_durable(&wal).map_err(io)?;
    let created = !has_chunks(&wal).map_err(io)?;
    let config = Arc::new(config(&wal, options).map_err(io)?);

    {
        // Held while the file is looked at; `open` below takes it again.
        let _lock = ChunkedWal::<RaftWalTypes<WalTypes>>::acquire_lock(&config.wal)
            .map_err(|error| open_error(dir, &error))?;
        super::torn::cut_torn_record(&wal).map_err(io)?;
    }

    let log = match catch_unwind(|| RaftLog::<WalTypes>::open(config)) {
        Ok(Ok(log)) => log,
        Ok(Err(error)) => return Err(open_error(dir, &error)),
        Err(_panic) => return Err(damaged(dir, "its chunk files do not fit together")),
    };

    let state = LogState::of(&log, created);
    Mark::check(dir, &state).map_err(|error| damaged(dir, &error.to_string()))?;
    check_start(&log, &state).map_err(|error| damaged(dir, &error.to_string()))?;
    Ok((log, created))
}

/// What is missing at the beginning of a log.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("its first entry {index}: {error}")]
    Unreadable { index: u64, error: io::Error },
    #[error("its first entry {0} is missing")]
    NoEntry(u64),
    #[error("its oldest chunk file is missing, the first is {0}")]
    NoChunk(ChunkId),
}

/// raft-log sees a gap between two chunk files, but not that the oldest ones are gone.
fn check_start(log: &RaftLog<WalTypes>, state: &LogState) -> Result<(), StartError> {
    let Some(last) = state.last.filter(|_| state.last != state.purged) else {
        return Ok(());
    };

    match state.purged {
        Some(purged) => {
            let first = purged.index.saturating_add(1);
            let mut entries = log.read(first, first.max(last.index).saturating_add(1));
            match entries.next() {
                Some(Ok((id, _))) if id.0.index == first => Ok(()),
                Some(Err(error)) => Err(StartError::Unreadable { index: first, error }),
                _ => Err(StartError::NoEntry(first)),
            }
        }
        None => {
            let stat = log.stat();
            let oldest = stat.closed_chunks.first().unwrap_or(&stat.open_chunk).chunk_id;
            if oldest == ChunkId(0) { Ok(()) } else { Err(StartError::NoChunk(oldest)) }
        }
    }
}

fn has_chunks(wal: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(wal)? {
        if entry?.path().extension().is_some_and(|extension| extension == "wal") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn config(wal: &Path, options: &LogOptions) -> io::Result<Config> {
    let dir = wal.to_str().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidFilename, "the path must be valid UTF-8")
    })?;
    Ok(Config {
        wal: chunked_wal::Config {
            dir: dir.to_string(),
            read_buffer_size: Some(caps::LOG_READ_BUFFER_BYTES),
            chunk_max_records: Some(options.chunk_records_max),
            chunk_max_size: Some(options.chunk_bytes_max),
            truncate_incomplete_record: Some(true),
            flush_batch_wait: Some(options.batch_wait),
            flush_batch_max_items: None,
            flush_queue_max_bytes: Some(caps::LOG_QUEUE_BYTES_MAX),
        },
        log_cache_max_items: Some(caps::LOG_CACHE_ENTRIES_MAX),
        log_cache_capacity: Some(caps::LOG_CACHE_BYTES_MAX),
    })
}

/// raft-log has plain `io::Error`s; these kinds are the ones it makes itself when records do not
/// fit.
fn open_error(dir: &Path, error: &io::Error) -> LogError {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof, WouldBlock};
    let kind = error.kind();
    if kind == WouldBlock {
        LogError::Locked { path: PathBuf::from(dir) }
    } else if [InvalidData, InvalidInput, Other, UnexpectedEof].contains(&kind) {
        damaged(dir, &error.to_string())
    } else {
        io_error(dir, error)
    }
}

fn damaged(dir: &Path, detail: &str) -> LogError {
    LogError::Damaged { path: dir.to_path_buf(), detail: detail.to_string() }
}

fn io_error(dir: &Path, error: &io::Error) -> LogError {
    LogError::Io { path: dir.to_path_buf(), kind: error.kind(), detail: error.to_string() }
}
