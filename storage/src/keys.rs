//! Everything that is persisted under a name or a key: one file, so that nothing is ever used
//! twice. What a value is says its envelope ([`ratequeue_codec::schema`]).
//!
//! # Files in the data folder
//!
//! | path | content |
//! |---|---|
//! | `lock` | advisory lock and the process id of its holder |
//! | `identity.json` | who this node is ([`crate::Identity`]) |
//! | `founding.json` | the nodes that this one founds a cluster with; not there on a node that joined one |
//! | `log/<group>/wal/` | chunk files of the log |
//! | `log/<group>/mark` | [`ratequeue_codec::schema::LOG_MARK`]: what the log must at least hold |
//! | `state/` | sled |
//! | `state.damaged-<n>/` | an earlier `state/` that did not verify |
//!
//! # Trees and keys in sled
//!
//! A group has two trees, `<group>/0` and `<group>/1` ([`tree_name`]). In a tree:
//!
//! | key | value |
//! |---|---|
//! | `[0]` | the checkpoint record: [`ratequeue_codec::schema::CHECKPOINT`] |
//! | `[kind u8][id u64 big-endian]` | a record of that kind; ids are numbers that are never reused |

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

/// Length of a record key.
pub const RECORD_KEY_BYTES: usize = 9;

/// Whether `kind` names a record that lives under a record key.
pub fn is_record_kind(kind: u8) -> bool {
    matches!(
        kind,
        KIND_META
            | KIND_RESOURCE
            | KIND_LEASE
            | KIND_REMEMBERED
            | KIND_CATALOG
            | KIND_CLAIM
            | KIND_FEATURES
    )
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
