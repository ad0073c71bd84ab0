//! Chunk files without a descriptor for them.
//!
//! raft-log adds a record to the open chunk before it looks whether that is full, and then opens
//! the next one's file. When there is no descriptor for it the record is in the log all the same,
//! and nothing else has happened: the full chunk goes on growing, and every further record tries
//! again. Its thread that removes chunk files cannot try again, so nothing is purged while there
//! are no descriptors.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_log::{ChunkId, RaftLog};

use super::record::WalTypes;
use crate::caps;
use crate::descriptors::{check, is_out_of_descriptors};

/// Whether the next chunk is overdue.
#[derive(Debug, Default)]
pub(super) struct NextChunk {
    overdue: AtomicBool,
}

impl NextChunk {
    /// Adds one record: `add` is a single call of raft-log.
    pub(super) fn add<T>(
        &self,
        log: &mut RaftLog<WalTypes>,
        add: impl FnOnce(&mut RaftLog<WalTypes>) -> io::Result<T>,
    ) -> io::Result<()> {
        match add(log) {
            Err(error) if is_out_of_descriptors(&error) => {
                if !self.overdue.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "no file descriptor for the next log file: the log goes on in the full one");
                }
                remove_unused(log)
            }
            Err(error) => Err(error),
            Ok(_) => {
                if self.overdue.swap(false, Ordering::Relaxed) {
                    tracing::info!("the log has its next file");
                }
                Ok(())
            }
        }
    }
}

/// Removes the file of the next chunk, which is there when only its folder could not be opened. It
/// is empty, and would be in the way of another attempt. After a crash it is removed by opening the
/// log.
fn remove_unused(log: &RaftLog<WalTypes>) -> io::Result<()> {
    let next = ChunkId(log.stat().open_chunk.global_end);
    match std::fs::remove_file(log.config().wal.chunk_path(next)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether chunk files can be removed. One that `has_to` be is waited for.
pub(super) fn can_remove(wal: &Path, has_to: bool) -> bool {
    let attempts = if has_to { caps::DESCRIPTOR_ATTEMPTS_MAX } else { 1 };
    for attempt in 1..=attempts {
        match check(wal) {
            Err(error) if is_out_of_descriptors(&error) => {
                if attempt == 1 {
                    tracing::warn!(%error, "the log is not purged: there are no file descriptors");
                }
            }
            // What else is wrong shows when it is done.
            Ok(()) | Err(_) => return true,
        }
        if attempt < attempts {
            std::thread::sleep(caps::DESCRIPTOR_RETRY);
        }
    }

    has_to
}
