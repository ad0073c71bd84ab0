//! The mark: what a log must at least hold.
//!
//! A log whose end was cut away is a clean, shorter log. The mark, in a file of its own, tells the
//! difference for all that was committed when it was last written. It only ever names what cannot
//! be truncated any more.

use std::fs;
use std::io;
use std::path::Path;

use ratequeue_codec::{self as codec, CodecError, schema};
use serde::{Deserialize, Serialize};

use super::{LogError, LogId, LogState};
use crate::file::write_whole;
use crate::keys;

/// How a log differs from its mark.
#[derive(Debug, thiserror::Error)]
pub(super) enum MarkError {
    #[error("its mark cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("its mark: {0}")]
    Damaged(#[from] CodecError),
    #[error("its vote is of term {found}, but term {acknowledged} was acknowledged")]
    Vote { found: u64, acknowledged: u64 },
    #[error("it ends at {last:?}, but entries up to {acknowledged} were acknowledged")]
    Cut { last: Option<u64>, acknowledged: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Term of the saved vote, 0 without one.
    term: u64,
    /// The last committed or purged entry.
    committed: Option<LogId>,
}

impl Mark {
    pub(super) fn of(state: &LogState) -> Self {
        Self {
            term: state.vote.map_or(0, |vote| vote.term),
            committed: state.committed.max(state.purged),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), LogError> {
        let io = |error: io::Error| LogError::Io {
            path: dir.to_path_buf(),
            kind: error.kind(),
            detail: format!("its mark: {error}"),
        };
        let bytes =
            codec::encode(schema::LOG_MARK, self).map_err(|error| io(io::Error::other(error)))?;
        write_whole(&dir.join(keys::FILE_MARK), &bytes).map_err(io)
    }

    /// Compares a log that was just opened with its mark, if it has one.
    pub(super) fn check(dir: &Path, state: &LogState) -> Result<(), MarkError> {
        let bytes = match fs::read(dir.join(keys::FILE_MARK)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(MarkError::Unreadable(error)),
        };

        let mark: Self = codec::decode(schema::LOG_MARK, &bytes)?;
        let term = state.vote.map_or(0, |vote| vote.term);

        if term < mark.term {
            return Err(MarkError::Vote { found: term, acknowledged: mark.term });
        }

        match mark.committed {
            Some(committed) if state.last.is_none_or(|last| last.index < committed.index) => {
                let last = state.last.map(|last| last.index);
                Err(MarkError::Cut { last, acknowledged: committed.index })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn has_its_golden_bytes() {
        let id = LogId { term: 3, node: 2, index: 1_000 };
        let mark = Mark { term: 3, committed: Some(id) };
        let bytes = codec::encode(schema::LOG_MARK, &mark).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5251010907000000fe93031b03010302fbe803");
        assert_eq!(codec::decode::<Mark>(schema::LOG_MARK, &bytes).unwrap(), mark);
    }
}
