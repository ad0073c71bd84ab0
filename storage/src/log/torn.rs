//! The one kind of torn write that raft-log takes for damage.
//!
//! A record that was being written when the power failed may be there in part, with zeros up to the
//! new end of the file: a file system can make the length of a file durable before all of its
//! blocks. raft-log drops a tail that is cut, or that is all zeros, but not a record whose
//! beginning made it and whose end did not. Without an fsync that record was never acknowledged,
//! and a node should not be lost over it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use raft_log::codeq::Decode;
use raft_log::{RaftWalTypes, WALRecord};

use super::record::WalTypes;

/// Blocks are written whole, so a torn write ends at a multiple of the smallest block.
const BLOCK_BYTES: usize = 512;

/// Fewer zeros than this at the end can be part of a whole record (its checksum).
const ZEROS_MIN: usize = 16;

/// Cuts a torn record with zeros behind it off the newest chunk file, if there is one.
pub(super) fn cut_torn_record(wal: &Path) -> io::Result<()> {
    let Some(path) = newest_chunk(wal)? else { return Ok(()) };
    let bytes = fs::read(&path)?;
    let Some(len) = torn_at(&bytes) else { return Ok(()) };
    tracing::warn!(chunk = %path.display(), at = len, "the last write to the log was torn and never acknowledged; dropped");
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(u64::try_from(len).map_err(io::Error::other)?)?;
    file.sync_all()
}

/// Names of chunk files have a fixed width, so they sort by age.
fn newest_chunk(wal: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(wal)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "wal") {
            newest = newest.max(Some(path));
        }
    }
    Ok(newest)
}

/// Where a torn record begins, when all before it is whole, it claims to go on behind the block in
/// which its data ends, and nothing but zeros follows.
fn torn_at(bytes: &[u8]) -> Option<usize> {
    let data = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    let data = data.checked_next_multiple_of(BLOCK_BYTES)?;
    if bytes.len() < data.checked_add(ZEROS_MIN)? {
        return None;
    }

    let mut rest = bytes.get(..data)?;
    loop {
        let begin = data - rest.len();
        match WALRecord::<RaftWalTypes<WalTypes>>::decode(&mut rest) {
            Ok(_whole) if rest.is_empty() => return None,
            Ok(_whole) => {}
            // The first record of a chunk is raft-log's own affair: a chunk without it was never in
            // use.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && begin > 0 => {
                return Some(begin);
            }
            Err(_damaged) => return None,
        }
    }
}
