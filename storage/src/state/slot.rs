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
    /// The group's membership at that entry, opaque here. At most
    /// [`ratequeue_codec::caps::MEMBERSHIP_BYTES_MAX`] bytes.
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
    /// Its value, with the envelope of [`ratequeue_codec`].
    pub value: Vec<u8>,
}

/// Takes the records of a slot, and says what they add up to.
pub trait RecordSink {
    /// Takes one record. They come in the order of their keys; the envelope of `value` has been
    /// verified.
    ///
    /// # Errors
    /// When the record cannot be used; reading ends then. [`SlotError::Sink`] is meant for this.
    fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), SlotError>;

    /// The digest of all records taken.
    fn digest(&mut self) -> u64;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ratequeue_codec::{decode, encode, schema};

    use super::*;

    #[test]
    fn a_header_has_its_golden_bytes() {
        let header = Header {
            applied: Some(LogId { term: 3, node: 2, index: 1_000 }),
            membership: vec![1, 2, 3],
            records: 4_711,
            digest: 0xdead_beef_0bad_cafe,
            sequence: 7,
            received: false,
        };
        let bytes = encode(schema::CHECKPOINT, &header).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // The same as in `codec/tests/golden`.
        assert_eq!(hex, "52510101180000000064b808010302fbe80303010203fb6712fdfecaad0befbeadde0700");
        assert_eq!(decode::<Header>(schema::CHECKPOINT, &bytes).unwrap(), header);
    }
}
