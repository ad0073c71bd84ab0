//! Who is in the group, as it is kept in the log and in checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use ratequeue_codec::{self as codec, CodecError, schema};
use ratequeue_storage::LogId;
use serde::{Deserialize, Serialize};

use crate::caps;
use crate::error::TooLarge;
use crate::format::types::{RaftMembership, StoredMembership, raft_id, stored_id};
use crate::node::{Address, NodeId};

/// The record. Two sets of voters while the group moves from the one to the other.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The entry that brought it; `None` inside that entry itself, and for a group that is not
    /// formed.
    log_id: Option<LogId>,
    voters: Vec<BTreeSet<NodeId>>,
    /// Voters and learners.
    nodes: BTreeMap<NodeId, Address>,
}

/// Why stored bytes are not a membership.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadMembership {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("invalid membership: {0}")]
    Inconsistent(String),
}

pub(crate) fn encode(
    log_id: Option<LogId>,
    membership: &RaftMembership,
) -> Result<Vec<u8>, CodecError> {
    let record = Record {
        log_id,
        voters: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, address)| (*id, address.clone())).collect(),
    };
    codec::encode(schema::MEMBERSHIP, &record)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Option<LogId>, RaftMembership), BadMembership> {
    let record: Record = codec::decode(schema::MEMBERSHIP, bytes)?;
    let membership = RaftMembership::new(record.voters, record.nodes);
    let membership = membership.map_err(|error| BadMembership::Inconsistent(error.to_string()))?;
    Ok((record.log_id, membership))
}

pub(crate) fn encode_stored(stored: &StoredMembership) -> Result<Vec<u8>, CodecError> {
    encode(stored.log_id().as_ref().map(stored_id), stored.membership())
}

pub(crate) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, BadMembership> {
    let (log_id, membership) = decode(bytes)?;
    Ok(StoredMembership::new(log_id.map(raft_id), membership))
}

/// Checks that a membership fits into an entry of the log.
pub(crate) fn check_size<'a>(
    members: usize,
    mut addresses: impl Iterator<Item = &'a Address>,
) -> Result<(), TooLarge> {
    if members > caps::MEMBERS_MAX {
        return Err(TooLarge::Members);
    }
    if addresses.any(|address| address.0.len() > caps::ADDRESS_BYTES_MAX) {
        return Err(TooLarge::Address);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// To be changed only together with a new schema ordinal.
    #[test]
    fn has_its_golden_bytes() {
        let nodes = BTreeMap::from([(1, Address::from("a:1")), (2, Address::from("b:2"))]);
        let membership = RaftMembership::new(vec![BTreeSet::from([1])], nodes).unwrap();
        let id = LogId { term: 3, node: 1, index: 9 };
        let bytes = encode(Some(id), &membership).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "525101071200000071aef99801030109010101020103613a310203623a32");
        assert_eq!(decode(&bytes).unwrap(), (Some(id), membership));
    }

    #[test]
    fn the_membership_of_an_unformed_group_is_empty() {
        let stored = decode_stored(&encode_stored(&StoredMembership::default()).unwrap()).unwrap();
        assert_eq!(stored, StoredMembership::default());
    }
}
