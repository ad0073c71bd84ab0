//! Reading slots: their headers, whole, and page by page.

use ratequeue_codec::{self as codec, schema};

use super::db::guarded;
use super::slot::{Header, Record, RecordKey, RecordSink, Slot};
use super::store::{StateStore, record_bytes};
use super::{SlotError, StateError};
use crate::caps;
use crate::group::GroupName;
use crate::keys;

impl StateStore {
    /// The headers of a group's slots, `None` where there is no finished checkpoint or its header
    /// is damaged.
    pub fn slots(&self, group: &GroupName) -> [Option<Header>; 2] {
        Slot::ALL.map(|slot| match self.header(group, slot) {
            Ok(header) => Some(header),
            Err(SlotError::Empty) => None,
            Err(error) => {
                tracing::warn!(%group, %slot, %error, "the header of a checkpoint cannot be read");
                None
            }
        })
    }

    /// The header of one slot.
    ///
    /// # Errors
    /// [`SlotError::Empty`] without a finished checkpoint, [`SlotError::Value`] or
    /// [`SlotError::Sled`] when damaged.
    pub fn header(&self, group: &GroupName, slot: Slot) -> Result<Header, SlotError> {
        self.with_tree(group, slot, read_header)
    }

    /// Reads all records of a slot into `sink` and compares what they add up to with the header.
    ///
    /// # Errors
    /// Any [`SlotError`]. What the sink got before is then worthless.
    pub fn read_slot(
        &self,
        group: &GroupName,
        slot: Slot,
        sink: &mut dyn RecordSink,
    ) -> Result<Header, SlotError> {
        let (header, bytes) = self.with_tree(group, slot, |tree| {
            let header = read_header(tree)?;
            let (mut records, mut bytes) = (0_u64, 0_u64);
            let mut items = tree.iter();
            while let Some(item) = guarded(|| items.next().transpose()).map_err(sled_error)? {
                let (key, value) = item;
                if *key == keys::checkpoint_key() {
                    continue;
                }
                let (kind, id) = parse(&key, &value)?;
                sink.record(kind, id, &value)?;
                records = records.saturating_add(1);
                bytes = bytes.saturating_add(record_bytes(value.len()));
            }
            let digest = sink.digest();
            if (records, digest) != (header.records, header.digest) {
                return Err(SlotError::Mismatch {
                    records,
                    records_expected: header.records,
                    digest,
                    digest_expected: header.digest,
                });
            }
            Ok((header, bytes))
        })?;

        let name = keys::tree_name(group, slot);
        let other =
            self.header(group, slot.other()).is_ok().then(|| keys::tree_name(group, slot.other()));
        let (writing, mut whole) = (self.inner.writing.lock(), self.inner.whole.lock());
        if !writing.contains(&name) {
            whole.insert(name, bytes);
        }
        // A slot that was not read counts as large as the other one.
        if let Some(other) = other.filter(|other| !writing.contains(other)) {
            whole.entry(other).or_insert(bytes);
        }
        Ok(header)
    }

    /// The next records after the key `after` (from the first one without it), at most
    /// `records_max`, for whoever must not hold the store for long. Nothing is compared with
    /// the header: the reader of all pages does that, and checks that [`Header::sequence`] is
    /// still the same at the end.
    ///
    /// # Errors
    /// Any [`SlotError`] but a mismatch.
    pub fn page(
        &self,
        group: &GroupName,
        slot: Slot,
        after: Option<RecordKey>,
        records_max: usize,
    ) -> Result<Vec<Record>, SlotError> {
        let records_max = records_max.min(caps::STATE_PAGE_RECORDS_MAX);
        self.with_tree(group, slot, |tree| {
            read_header(tree)?;
            let mut page = Vec::new();
            let mut items = match after {
                Some((kind, id)) => {
                    let after = std::ops::Bound::Excluded(keys::record_key(kind, id));
                    tree.range((after, std::ops::Bound::Unbounded))
                }
                None => tree.range(keys::record_key(keys::KIND_META, 0)..),
            };
            while page.len() < records_max {
                let Some((key, value)) =
                    guarded(|| items.next().transpose()).map_err(sled_error)?
                else {
                    break;
                };
                let (kind, id) = parse(&key, &value)?;
                page.push(Record { kind, id, value: value.to_vec() });
            }
            Ok(page)
        })
    }

    fn with_tree<T>(
        &self,
        group: &GroupName,
        slot: Slot,
        read: impl FnOnce(&sled::Tree) -> Result<T, SlotError>,
    ) -> Result<T, SlotError> {
        let current = self.inner.current.read();
        let db = current.db.as_ref().ok_or_else(|| SlotError::Sled("closed".to_string()))?;
        let tree = db.existing_tree(&keys::tree_name(group, slot)).map_err(sled_error)?;
        read(&tree.ok_or(SlotError::Empty)?)
    }
}

fn read_header(tree: &sled::Tree) -> Result<Header, SlotError> {
    let value = guarded(|| tree.get(keys::checkpoint_key())).map_err(sled_error)?;
    let value = value.ok_or(SlotError::Empty)?;
    codec::decode(schema::CHECKPOINT, &value).map_err(|error| SlotError::Value {
        kind: keys::KIND_CHECKPOINT,
        id: 0,
        error,
    })
}

fn parse(key: &[u8], value: &[u8]) -> Result<RecordKey, SlotError> {
    let (kind, id) = keys::parse_record_key(key).ok_or_else(|| SlotError::Key(key.to_vec()))?;
    codec::verify(value).map_err(|error| SlotError::Value { kind, id, error })?;
    Ok((kind, id))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn sled_error(error: StateError) -> SlotError {
    SlotError::Sled(error.to_string())
}
