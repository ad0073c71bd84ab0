//! Records of the state, as a slot keeps them and a snapshot carries them.

use ratequeue_codec::{self as codec, CodecError, schema};
use ratequeue_limiter::{Loader, Record, RecordKey, State};
use ratequeue_storage::{RecordSink, SlotError, keys};

/// Kind and id under which a record is stored.
pub(crate) fn stored_key(key: RecordKey) -> (u8, u64) {
    match key {
        RecordKey::Meta => (keys::KIND_META, 0),
        RecordKey::Resource(id) => (keys::KIND_RESOURCE, id),
        RecordKey::Lease(id) => (keys::KIND_LEASE, id),
        RecordKey::RememberedRequest(id) => (keys::KIND_REMEMBERED, id),
        RecordKey::Catalog => (keys::KIND_CATALOG, 0),
        RecordKey::Claim(id) => (keys::KIND_CLAIM, id),
        RecordKey::Features => (keys::KIND_FEATURES, 0),
    }
}

/// The stored value of a record.
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, CodecError> {
    match record {
        Record::Meta(meta) => codec::encode(schema::META, meta),
        Record::Resource(resource) => codec::encode(schema::RESOURCE, resource),
        Record::Lease(lease) => codec::encode(schema::LEASE, lease),
        Record::RememberedRequest(remembered) => codec::encode(schema::REMEMBERED, remembered),
        Record::Catalog(catalog) => codec::encode(schema::CATALOG, catalog),
        Record::Claim(claim) => codec::encode(schema::CLAIM, claim),
        Record::Features(features) => codec::encode(schema::FEATURES, features),
    }
}

fn decode(kind: u8, id: u64, value: &[u8]) -> Result<(RecordKey, Record), SlotError> {
    let decoded = match kind {
        keys::KIND_META => {
            codec::decode(schema::META, value).map(|meta| (RecordKey::Meta, Record::Meta(meta)))
        }
        keys::KIND_RESOURCE => codec::decode(schema::RESOURCE, value)
            .map(|resource| (RecordKey::Resource(id), Record::Resource(resource))),
        keys::KIND_LEASE => codec::decode(schema::LEASE, value)
            .map(|lease| (RecordKey::Lease(id), Record::Lease(lease))),
        keys::KIND_REMEMBERED => codec::decode(schema::REMEMBERED, value).map(|remembered| {
            (RecordKey::RememberedRequest(id), Record::RememberedRequest(remembered))
        }),
        keys::KIND_CATALOG => codec::decode(schema::CATALOG, value)
            .map(|catalog| (RecordKey::Catalog, Record::Catalog(catalog))),
        keys::KIND_CLAIM => codec::decode(schema::CLAIM, value)
            .map(|claim| (RecordKey::Claim(id), Record::Claim(claim))),
        keys::KIND_FEATURES => codec::decode(schema::FEATURES, value)
            .map(|features| (RecordKey::Features, Record::Features(features))),
        _ => return Err(SlotError::Sink(format!("record {kind}/{id} is of an unknown kind"))),
    };

    decoded.map_err(|error| SlotError::Value { kind, id, error })
}

/// Puts a state together from stored records.
#[derive(Debug)]
pub(crate) struct StateSink {
    loader: Loader,
}

impl Default for StateSink {
    fn default() -> Self {
        Self { loader: Loader::seeded(rand::random()) }
    }
}

impl RecordSink for StateSink {
    fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), SlotError> {
        let (key, record) = decode(kind, id, value)?;
        self.loader.record(key, record).map_err(|error| SlotError::Sink(error.to_string()))
    }

    fn digest(&mut self) -> u64 {
        self.loader.digest()
    }
}

impl StateSink {
    pub fn finish(self) -> Result<State, SlotError> {
        self.loader.finish().map_err(|error| SlotError::Sink(error.to_string()))
    }
}
