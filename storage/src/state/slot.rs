//! What a slot is, and what it holds.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SlotError;
use crate::log::LogId;

/// One of the two places of a group's checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Tree `<group>/0`.
    Zero,
    /// Tree `<group>/1`.
    One,
}

impl Slot {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Zero, Self::One];

    /// The one that is not this one.
    pub fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "0",
            Self::One => "1",
        })
    }
}

/// The checkpoint record: what the records of a slot add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The last log entry whose effect is in the records; `None` when none is.
    pub applied: Option<LogId>,
    /// The group's membership at that entry, opaque here. At most [`caps::MEMBERSHIP_BYTES_MAX`] bytes.
    pub membership: Vec<u8>,
    /// Number of records, without this one.
    pub records: u64,
    /// Digest of the records, as the caller computes it.
    pub digest: u64,
    /// Counts the checkpoints of a group, from 1: the higher one is the newer.
    pub sequence: u64,
    /// It came from another node, so this node's log need not reach to it.
    pub received: bool,
}

/// Kind and id of a record.
pub type RecordKey = (u8, u64);

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its kind, see [`crate::keys`].
    pub kind: u8,
    /// Its id.
    pub id: u64,
    /// Its value, with the envelope of [`crate::codec`].
    pub value: Vec<u8>,
}

/// Takes the records of a slot, and says what they add up to.
pub trait RecordSink {
    /// Takes one record. They come in the order of their keys; the envelope of `value` has been verified.
    ///
    /// # Errors
    /// When the record cannot be used; reading ends then. [`SlotError::Sink`] is meant for this.
    fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), SlotError>;

    /// The digest of all records taken.
    fn digest(&mut self) -> u64;
}
