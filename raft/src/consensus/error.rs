//! Why a snapshot, or a page of a checkpoint, did not come over.

use ratequeue_codec::CodecError;
use ratequeue_storage::{LogId, SlotError};
use tokio::task::JoinError;

use crate::caps;
use crate::checkpoint::error::CheckpointError;
use crate::format::bytes::WireError;
use crate::format::membership::BadMembership;
use crate::transport::TransportError;

/// Why a snapshot, or a page of a checkpoint, did not come over. The receiver has nothing of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Membership(#[from] BadMembership),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Request(#[from] std::io::Error),
    /// The task that reads or writes it panicked, or the runtime ends.
    #[error("the task has failed: {0}")]
    Task(#[from] JoinError),
    /// What openraft says to it.
    #[error("{0}")]
    NotInstalled(String),
    /// What the other node says.
    #[error("{0}")]
    Refused(String),
    #[error("only a stored snapshot can be sent")]
    NotStored,
    #[error("no answer")]
    NoAnswer,
    #[error("an answer to another question")]
    OtherAnswer,
    #[error("nothing of it was taken for {:?}", caps::SNAPSHOT_STUCK)]
    Stuck,
    #[error("the stream has ended")]
    Ended,
    #[error("a snapshot of the group {0}")]
    OtherGroup(String),
    #[error("the snapshot is cut")]
    Cut,
    #[error("a snapshot that does not begin")]
    NoBeginning,
    #[error("chunk {0} of the snapshot is missing")]
    NoChunk(u64),
    #[error("a checkpoint is being made")]
    BeingMade,
    #[error("checkpoint {0} is gone")]
    Gone(u64),
    #[error("its checkpoint ends at {applied:?}, before the log begins at {purged}")]
    TooShort { applied: Option<LogId>, purged: LogId },
}
