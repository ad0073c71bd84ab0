//! The log of one group: votes and entries, durable before they are acknowledged.
//!
//! ```text
//!  append, vote, truncate, purge                 read
//!            |                                     |
//!   one writer lock, in order              tail of recent entries (memory)
//!            |                                     | older
//!     raft-log -----> its flush thread ----> chunk files
//!                       write, fsync, then the callback
//! ```
//!
//! # What holds
//! - A callback says "durable" only after the fsync that covers its record, all records before it
//!   and every earlier vote. Callbacks run in the order of their calls.
//! - The first failed write or fsync ends the use of the log: everything after it fails too,
//!   nothing is tried again. After a failed fsync nobody knows what is on the disk, so the process
//!   has to end and to look at the disk anew.
//! - A descriptor that is missing for the next chunk file ends nothing: the log goes on in the full
//!   one (`chunk.rs`).
//! - What [`LogStore::open`] returns has been fsynced, so what survived a crash of the process can
//!   be counted on.
//! - A cut last record was never acknowledged, and is dropped. Damage anywhere else is
//!   [`LogError::Damaged`].

mod chunk;
mod durable;
mod mark;
mod open;
mod read;
mod record;
mod state;
mod store;
mod tail;
mod torn;

pub use self::durable::OnDurable;
pub use self::read::ReadLimit;
pub use self::record::{Entry, LogId, Vote};
pub use self::state::{LogOptions, LogState};
pub use self::store::LogStore;

use std::io;
use std::path::PathBuf;

/// Why the log did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The log on disk is damaged, or holds less than it acknowledged. The node must not vote.
    #[error(
        "the log in {path} is damaged: {detail}. This node must not vote any more: replace it with `ratequeue cluster replace-node`",
        path = path.display()
    )]
    Damaged {
        /// The log's folder.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Another process (or another store of this one) has the log open.
    #[error("the log in {path} is in use by another process. Stop that process first", path = path.display())]
    Locked {
        /// The log's folder.
        path: PathBuf,
    },
    /// The log could not be opened.
    #[error("the log in {path} cannot be opened: {detail}", path = path.display())]
    Io {
        /// The log's folder.
        path: PathBuf,
        /// What kind of error the system reported.
        kind: io::ErrorKind,
        /// What the system said.
        detail: String,
    },
    /// The request breaks a rule of Raft. Nothing was changed; the log can still be used.
    #[error("refused by the log: {0}")]
    Refused(String),
    /// A write or an fsync failed: nothing can be written any more. The process must end.
    #[error("the log cannot be used any more: {detail}")]
    Failed {
        /// What kind of error the system reported first.
        kind: io::ErrorKind,
        /// What it said.
        detail: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// Whether starting again cannot help: the log is damaged or in use.
    pub fn needs_operator(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Locked { .. })
    }

    /// Whether the process must end: the log can no longer be trusted.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Failed { .. })
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        let kind = match &error {
            LogError::Damaged { .. } => io::ErrorKind::InvalidData,
            LogError::Locked { .. } => io::ErrorKind::WouldBlock,
            LogError::Io { kind, .. } | LogError::Failed { kind, .. } => *kind,
            LogError::Refused(_) => io::ErrorKind::InvalidInput,
            LogError::Closed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
