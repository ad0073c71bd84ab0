//! The checkpoint: what a restart begins with, so that the log need not be replayed from its start.
//!
//! ```text
//!  group "eu-west-1"        slot 0: whole, sequence 7        tree eu-west-1/0
//!                           slot 1: being written            tree eu-west-1/1
//! ```
//!
//! sled keeps the records, and is not trusted with anything else: it loses what follows a damaged
//! byte without a word, and its `flush` does not reach the disk. So:
//!
//! - A group has two slots that are written in turn. One is whole at any time.
//! - Writing begins with removing the slot's [`Header`], durably, and ends with putting it back, in
//!   the last batch. A slot without a header does not count, and nothing is ever written on top of
//!   one.
//! - The writer counts. A header that promises another number of records than there are is refused.
//! - A checkpoint counts when `flush` *and* an fsync of sled's files returned. A failed fsync ends
//!   the use of the store. sled itself refuses everything after an error of its own, a full disk
//!   among them; it is then opened again.
//! - A slot is believed only after all of its records were read and their number and digest are
//!   those of its header.
//! - What does not verify is moved aside, never deleted.

mod db;
mod read;
mod slot;
mod store;
mod writer;

pub use self::slot::{Header, Record, RecordKey, RecordSink, Slot};
pub use self::store::{Opened, StateOptions, StateStore};
pub use self::writer::SlotWriter;

use std::io;

use ratequeue_codec::CodecError;

/// Why a slot could not be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The slot holds no finished checkpoint.
    #[error("the slot holds no finished checkpoint")]
    Empty,
    /// A key that is no record key.
    #[error("unknown key {0:02x?}")]
    Key(Vec<u8>),
    /// A value that is damaged.
    #[error("record {kind}/{id}: {error}")]
    Value {
        /// Kind of the record.
        kind: u8,
        /// Its id.
        id: u64,
        /// What is wrong with it.
        error: CodecError,
    },
    /// The records are not those that were written.
    #[error(
        "the records are not those that were written: {records} of {records_expected}, digest {digest:016x} instead of {digest_expected:016x}"
    )]
    Mismatch {
        /// Records found.
        records: u64,
        /// Records written.
        records_expected: u64,
        /// Digest of the records found.
        digest: u64,
        /// Digest of the records written.
        digest_expected: u64,
    },
    /// The receiver of the records refused one.
    #[error("{0}")]
    Sink(String),
    /// sled failed to read.
    #[error("sled: {0}")]
    Sled(String),
}

/// Why the checkpoint store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// The system refused a file operation.
    #[error("checkpoint: {what}: {detail}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What kind of error the system reported.
        kind: io::ErrorKind,
        /// What it said.
        detail: String,
    },
    /// There was no file descriptor left.
    #[error("checkpoint: {what}: {detail}")]
    NoDescriptors {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        detail: String,
    },
    /// sled failed.
    #[error("checkpoint: sled: {0}")]
    Sled(String),
    /// What the slot holds cannot even be removed, although there is room.
    #[error("checkpoint: damaged: {detail}")]
    Damaged {
        /// The store that it is about, for [`StateStore::move_aside`].
        generation: u64,
        /// What sled says.
        detail: String,
    },
    /// An fsync failed. Nothing can be written until the store is opened again, by another process.
    #[error("checkpoint: cannot be written any more, since an fsync failed: {0}")]
    Failed(String),
    /// The record cannot be stored.
    #[error("checkpoint: record {kind}/{id} refused: {detail}")]
    Refused {
        /// Kind of the record.
        kind: u8,
        /// Its id.
        id: u64,
        /// Why.
        detail: String,
    },
    /// The slot is being written already.
    #[error("checkpoint: {0} is being written already")]
    Busy(String),
    /// The state was moved aside, opened again, or closed, since the writer began.
    #[error("checkpoint: the store was closed or replaced meanwhile")]
    Gone,
    /// There is too little room to go on.
    #[error("checkpoint: only {free} bytes are free")]
    NoSpace {
        /// Free bytes.
        free: u64,
    },
    /// The records are not as many as the header says: whoever wrote them left something out.
    #[error("checkpoint: {records} records were written, and the header says {expected}")]
    Incomplete {
        /// Records in the slot.
        records: u64,
        /// Records of the header.
        expected: u64,
    },
}

impl StateError {
    /// Whether the disk is full, or nearly so.
    pub fn is_storage_full(&self) -> bool {
        let full = matches!(
            self,
            Self::Io { kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, .. }
        );
        full || matches!(self, Self::NoSpace { .. })
    }

    /// Whether nothing can be written any more in this process. After any other error a slot can be
    /// written anew, from nothing.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}
