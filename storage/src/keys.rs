//! Everything that is persisted under a name, a key or a number: one file, so that nothing is ever used twice.
//!
//! # Files in the data folder
//!
//! | path | content |
//! |---|---|
//! | `lock` | advisory lock and the process id of its holder |
//! | `identity.json` | who this node is ([`crate::Identity`]) |
//! | `founding.json` | the nodes that this one founds a cluster with; not there on a node that joined one |
//! | `log/<group>/wal/` | chunk files of the log |
//! | `log/<group>/mark` | [`LOG_MARK`]: what the log must at least hold |
//! | `state/` | sled |
//! | `state.damaged-<n>/` | an earlier `state/` that did not verify |
//!
//! # Trees and keys in sled
//!
//! A group has two trees, `<group>/0` and `<group>/1` ([`tree_name`]). In a tree:
//!
//! | key | value |
//! |---|---|
//! | `[0]` | the checkpoint record: [`CHECKPOINT`] |
//! | `[kind u8][id u64 big-endian]` | a record of that kind; ids are numbers that are never reused |
//!
//! # Schemas
//!
//! Each version of each record has an ordinal of its own, which stands in the envelope of every value. **An ordinal is
//! never reused and never changes its meaning.** A new version of a record is a new [`Schema`] with the next free
//! ordinal; the old one stays here for as long as it can be read.

use crate::Slot;
use crate::group::GroupName;

/// Name of the lock file.
pub const FILE_LOCK: &str = "lock";
/// Name of the identity file.
pub const FILE_IDENTITY: &str = "identity.json";
/// Name of the founding file.
pub const FILE_FOUNDING: &str = "founding.json";
/// Folder of all logs.
pub const DIR_LOG: &str = "log";
/// Folder of one log's chunk files, inside the group's folder.
pub const DIR_WAL: &str = "wal";
/// Name of a log's mark file, inside the group's folder.
pub const FILE_MARK: &str = "mark";
/// Folder of the checkpoints.
pub const DIR_STATE: &str = "state";
/// A damaged state is kept under this name plus a number.
pub const DIR_STATE_DAMAGED: &str = "state.damaged-";

/// Record kind 0: the checkpoint record itself. It has no id; its key is one byte.
pub const KIND_CHECKPOINT: u8 = 0;
/// Record kind 1: what belongs to the group as a whole (log time, counters).
pub const KIND_META: u8 = 1;
/// Record kind 2: a resource.
pub const KIND_RESOURCE: u8 = 2;
/// Record kind 3: a lease, waiting or held.
pub const KIND_LEASE: u8 = 3;
/// Record kind 4: a remembered request.
pub const KIND_REMEMBERED: u8 = 4;
/// Record kind 5: the counters of the catalog.
pub const KIND_CATALOG: u8 = 5;
/// Record kind 6: a name that is claimed in the catalog.
pub const KIND_CLAIM: u8 = 6;

/// Record kind 7: the feature level of the group.
pub const KIND_FEATURES: u8 = 7;

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

const RECORD_MAX: usize = crate::caps::STATE_RECORD_BYTES_MAX - crate::codec::ENVELOPE_BYTES;

/// The checkpoint record ([`crate::Header`]).
pub const CHECKPOINT: Schema = schema(1, "checkpoint", 1, RECORD_MAX);
/// A record of [`KIND_META`].
pub const META: Schema = schema(2, "meta", 1, RECORD_MAX);
/// A record of [`KIND_RESOURCE`].
pub const RESOURCE: Schema = schema(3, "resource", 1, RECORD_MAX);
/// A record of [`KIND_LEASE`].
pub const LEASE: Schema = schema(4, "lease", 1, RECORD_MAX);
/// A record of [`KIND_REMEMBERED`].
pub const REMEMBERED: Schema = schema(5, "remembered request", 1, RECORD_MAX);
/// The payload of a log entry.
pub const LOG_ENTRY: Schema =
    schema(6, "log entry", 1, crate::caps::LOG_PAYLOAD_BYTES_MAX - crate::codec::ENVELOPE_BYTES);
/// The membership of a group, as the checkpoint record and a snapshot carry it.
pub const MEMBERSHIP: Schema =
    schema(7, "membership", 1, crate::caps::MEMBERSHIP_BYTES_MAX - crate::codec::ENVELOPE_BYTES);
/// The header of a snapshot that is streamed to another node.
pub const SNAPSHOT: Schema = schema(8, "snapshot", 1, RECORD_MAX);
/// The mark of a log: what it must at least hold.
pub const LOG_MARK: Schema = schema(9, "log mark", 1, crate::caps::LOG_MARK_BYTES_MAX);
/// What a node asks of the leader of a group. On the wire only.
pub const FORWARD_QUESTION: Schema = schema(10, "forwarded question", 1, RECORD_MAX);
/// What the leader answers. On the wire only.
pub const FORWARD_ANSWER: Schema = schema(11, "forwarded answer", 1, RECORD_MAX);

/// A record of [`KIND_CATALOG`].
pub const CATALOG: Schema = schema(12, "catalog", 1, RECORD_MAX);
/// A record of [`KIND_CLAIM`].
pub const CLAIM: Schema = schema(13, "claim", 1, RECORD_MAX);
/// A call of the API that one node passes on to another. On the wire only.
pub const NODE_CALL: Schema = schema(14, "call to a node", 1, crate::caps::NODE_CALL_BYTES_MAX);
/// The answer to it. On the wire only.
pub const NODE_ANSWER: Schema = schema(15, "answer of a node", 1, crate::caps::NODE_ANSWER_BYTES_MAX);

/// A record of [`KIND_FEATURES`].
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

/// Length of a record key.
pub const RECORD_KEY_BYTES: usize = 9;

const fn schema(ordinal: u8, name: &'static str, version: u8, bytes_max: usize) -> Schema {
    Schema { ordinal, name, version, bytes_max }
}

/// The schema with this ordinal, or `None` when a newer version of RateQueue wrote it.
pub fn schema_of(ordinal: u8) -> Option<Schema> {
    SCHEMAS.into_iter().find(|schema| schema.ordinal == ordinal)
}

/// Whether `kind` names a record that lives under a record key.
pub fn is_record_kind(kind: u8) -> bool {
    matches!(kind, KIND_META | KIND_RESOURCE | KIND_LEASE | KIND_REMEMBERED | KIND_CATALOG | KIND_CLAIM | KIND_FEATURES)
}

/// The key of a slot's checkpoint record.
pub fn checkpoint_key() -> [u8; 1] {
    [KIND_CHECKPOINT]
}

/// The key of a record.
pub fn record_key(kind: u8, id: u64) -> [u8; RECORD_KEY_BYTES] {
    let [a, b, c, d, e, f, g, h] = id.to_be_bytes();
    [kind, a, b, c, d, e, f, g, h]
}

/// Kind and id of a record key; `None` when it is not one.
pub fn parse_record_key(key: &[u8]) -> Option<(u8, u64)> {
    let (&kind, id) = key.split_first()?;
    let id = u64::from_be_bytes(id.try_into().ok()?);
    is_record_kind(kind).then_some((kind, id))
}

/// The name of a slot's tree.
pub fn tree_name(group: &GroupName, slot: Slot) -> String {
    format!("{group}/{slot}")
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

    #[test]
    fn keys_sort_by_kind_then_id_and_read_back() {
        let keys = [
            record_key(KIND_META, u64::MAX),
            record_key(KIND_RESOURCE, 0),
            record_key(KIND_RESOURCE, 255),
            record_key(KIND_RESOURCE, 256),
            record_key(KIND_LEASE, 1),
        ];
        assert!(keys.is_sorted());
        assert!(checkpoint_key().as_slice() < record_key(KIND_META, 0).as_slice());
        assert_eq!(parse_record_key(&record_key(3, 77)), Some((3, 77)));
        assert_eq!(parse_record_key(&record_key(9, 77)), None);
        assert_eq!(parse_record_key(&[0]), None);
        assert_eq!(parse_record_key(&[1, 2]), None);
        assert_eq!(parse_record_key(&[]), None);
    }
}
