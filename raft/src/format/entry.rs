//! Entries of the log, as the log keeps them and as openraft wants them.
//!
//! ```text
//!  entry      payload in the log
//!  blank      nothing
//!  normal     a batch of commands (batch.rs), the very bytes that its proposer encoded
//!  membership a membership (membership.rs)
//! ```
//! Which it is stands in the payload's envelope.

use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use ratequeue_codec::{self as codec, schema};
use ratequeue_storage::{Entry, LogId};

use crate::format::membership;
use crate::format::types::{Data, Payload, RaftEntry, raft_id, stored_id};

/// As the log keeps it.
pub(crate) fn to_stored(entry: &RaftEntry) -> io::Result<Entry> {
    let payload = match &entry.payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(data) => data.bytes.clone(),
        EntryPayload::Membership(membership) => {
            Bytes::from(membership::encode(None, membership).map_err(io::Error::other)?)
        }
    };
    Ok(Entry { id: stored_id(&entry.log_id), payload })
}

/// As openraft wants it.
pub(crate) fn to_raft(entry: Entry) -> io::Result<RaftEntry> {
    let payload = to_payload(entry.id, entry.payload)?;
    Ok(RaftEntry { log_id: raft_id(entry.id), payload })
}

fn to_payload(id: LogId, bytes: Bytes) -> io::Result<Payload> {
    let unreadable = |error: &dyn std::error::Error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("entry {id}: {error}"))
    };
    if bytes.is_empty() {
        return Ok(EntryPayload::Blank);
    }
    let schema = codec::verify(&bytes).map_err(|error| unreadable(&error))?;
    if schema == schema::LOG_ENTRY {
        return Ok(EntryPayload::Normal(Data { bytes, own: false }));
    }
    let (_, membership) = membership::decode(&bytes).map_err(|error| unreadable(&error))?;
    Ok(EntryPayload::Membership(membership))
}
