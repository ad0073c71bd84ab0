//! Pages of a checkpoint, which a node whose own state is damaged asks others for.

use bytes::Bytes;
use ratequeue_storage::{Record, RecordKey};

/// A page of a checkpoint that is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// Of which checkpoint; 0 is any that reaches far enough.
    pub sequence: u64,
    /// The index that it must have applied.
    pub reach: u64,
    /// After which record; from the first one without it.
    pub after: Option<RecordKey>,
}

/// A page of a checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub sequence: u64,
    /// What the checkpoint promises, as a snapshot says it.
    pub header: Bytes,
    /// None after the last one.
    pub records: Vec<Record>,
}
