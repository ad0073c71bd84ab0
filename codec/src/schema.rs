//! The number of every record that is stored or sent: one file, so that none is ever used twice.
//!
//! Each version of each record has an ordinal of its own, which stands in the envelope of every
//! value. **An ordinal is never reused and never changes its meaning.** A new version of a record
//! is a new [`Schema`] with the next free ordinal; the old one stays here for as long as it can be
//! read.

use crate::caps;
use crate::envelope::ENVELOPE_BYTES;

/// One version of one persisted record: its ordinal in the envelope and its size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The number in the envelope; unique over all records and versions, for ever.
    pub ordinal: u8,
    /// Name for messages.
    pub name: &'static str,
    /// Version of the record, counted from 1.
    pub version: u8,
    /// The largest payload in bytes, without the envelope.
    pub bytes_max: usize,
}

const RECORD_MAX: usize = caps::RECORD_BYTES_MAX - ENVELOPE_BYTES;

/// The checkpoint record of a slot: what its records add up to.
pub const CHECKPOINT: Schema = schema(1, "checkpoint", 1, RECORD_MAX);
/// The record of the group's time and counters.
pub const META: Schema = schema(2, "meta", 1, RECORD_MAX);
/// The record of a resource.
pub const RESOURCE: Schema = schema(3, "resource", 1, RECORD_MAX);
/// The record of a lease.
pub const LEASE: Schema = schema(4, "lease", 1, RECORD_MAX);
/// The record of a remembered change.
pub const REMEMBERED: Schema = schema(5, "remembered request", 1, RECORD_MAX);
/// The payload of a log entry.
pub const LOG_ENTRY: Schema =
    schema(6, "log entry", 1, caps::LOG_PAYLOAD_BYTES_MAX - ENVELOPE_BYTES);
/// The membership of a group, as the checkpoint record and a snapshot carry it.
pub const MEMBERSHIP: Schema =
    schema(7, "membership", 1, caps::MEMBERSHIP_BYTES_MAX - ENVELOPE_BYTES);
/// The header of a snapshot that is streamed to another node.
pub const SNAPSHOT: Schema = schema(8, "snapshot", 1, RECORD_MAX);
/// The mark of a log: what it must at least hold.
pub const LOG_MARK: Schema = schema(9, "log mark", 1, caps::LOG_MARK_BYTES_MAX);
/// What a node asks of the leader of a group. On the wire only.
pub const FORWARD_QUESTION: Schema = schema(10, "forwarded question", 1, RECORD_MAX);
/// What the leader answers. On the wire only.
pub const FORWARD_ANSWER: Schema = schema(11, "forwarded answer", 1, RECORD_MAX);

/// The record of the catalog's counters.
pub const CATALOG: Schema = schema(12, "catalog", 1, RECORD_MAX);
/// The record of a claimed name.
pub const CLAIM: Schema = schema(13, "claim", 1, RECORD_MAX);
/// A call of the API that one node passes on to another. On the wire only.
pub const NODE_CALL: Schema = schema(14, "call to a node", 1, caps::NODE_CALL_BYTES_MAX);
/// The answer to it. On the wire only.
pub const NODE_ANSWER: Schema = schema(15, "answer of a node", 1, caps::NODE_ANSWER_BYTES_MAX);

/// The record of the group's feature level.
pub const FEATURES: Schema = schema(16, "features", 1, RECORD_MAX);

/// Every schema that this version can read, by ordinal.
pub const SCHEMAS: [Schema; 16] = [
    CHECKPOINT,
    META,
    RESOURCE,
    LEASE,
    REMEMBERED,
    LOG_ENTRY,
    MEMBERSHIP,
    SNAPSHOT,
    LOG_MARK,
    FORWARD_QUESTION,
    FORWARD_ANSWER,
    CATALOG,
    CLAIM,
    NODE_CALL,
    NODE_ANSWER,
    FEATURES,
];

const fn schema(ordinal: u8, name: &'static str, version: u8, bytes_max: usize) -> Schema {
    Schema { ordinal, name, version, bytes_max }
}

/// The schema with this ordinal, or `None` when a newer version of RateQueue wrote it.
pub fn schema_of(ordinal: u8) -> Option<Schema> {
    SCHEMAS.into_iter().find(|schema| schema.ordinal == ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_unique_and_in_order() {
        let ordinals: Vec<u8> = SCHEMAS.iter().map(|schema| schema.ordinal).collect();
        assert_eq!(ordinals, (1..=16).collect::<Vec<u8>>());
        assert_eq!(schema_of(4), Some(LEASE));
        assert_eq!(schema_of(0), None);
        assert_eq!(schema_of(17), None);
    }
}
