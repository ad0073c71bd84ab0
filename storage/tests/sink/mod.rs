//! What the tests of the checkpoint share.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use ratequeue_codec::{encode, schema};
use ratequeue_storage::keys::{KIND_LEASE, KIND_META, KIND_RESOURCE};
use ratequeue_storage::{
    GroupName, Header, LogId, Opened, RecordKey, RecordSink, Slot, SlotError, StateOptions,
    StateStore,
};

/// Keeps all records, and adds up their hashes.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Sink {
    pub records: BTreeMap<RecordKey, Vec<u8>>,
}

impl RecordSink for Sink {
    fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), SlotError> {
        assert_eq!(self.records.insert((kind, id), value.to_vec()), None);
        Ok(())
    }

    fn digest(&mut self) -> u64 {
        self.sum()
    }
}

impl Sink {
    fn sum(&self) -> u64 {
        let hashes = self.records.iter().map(|record| {
            let mut hasher = DefaultHasher::new();
            record.hash(&mut hasher);
            hasher.finish()
        });
        hashes.fold(0, u64::wrapping_add)
    }

    /// The header that fits these records.
    pub fn header(&self, sequence: u64) -> Header {
        Header { records: self.records.len() as u64, digest: self.sum(), ..header(sequence) }
    }
}

pub fn header(sequence: u64) -> Header {
    Header {
        applied: Some(LogId { term: 1, node: 1, index: sequence * 100 }),
        membership: b"three voters".to_vec(),
        records: 0,
        digest: 0,
        sequence,
        received: false,
    }
}

pub fn group() -> GroupName {
    GroupName::new("eu-west-1").unwrap()
}

/// A record that tells which one it is.
pub fn value(id: u64, len: usize) -> Vec<u8> {
    encode(schema::LEASE, &(id, "v".repeat(len))).unwrap()
}

/// Opens the state below `dir`, without pauses between batches.
pub fn open(dir: &Path) -> (StateStore, Opened) {
    let options = StateOptions { pause: Duration::ZERO, ..StateOptions::default() };
    StateStore::open(dir.join("state"), options).unwrap()
}

/// Writes a slot afresh with `count` records of three kinds.
pub fn fill(store: &StateStore, slot: Slot, sequence: u64, count: u64) -> Sink {
    let mut writer = store.begin_empty(&group(), slot).unwrap();
    let mut sink = Sink::default();
    for id in 0..count {
        let kind = match id {
            0 => KIND_META,
            1..=9 => KIND_RESOURCE,
            _ => KIND_LEASE,
        };
        let id = if kind == KIND_LEASE { id - 10 } else { id };
        let value = value(id * sequence, 20 + usize::try_from(id % 50).unwrap());
        writer.put(kind, id, &value).unwrap();
        sink.records.insert((kind, id), value);
    }

    writer.commit(&sink.header(sequence)).unwrap();
    sink
}
