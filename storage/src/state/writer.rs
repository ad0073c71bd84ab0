//! [`SlotWriter`]: writes one slot, in small steps, so that it counts whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::StateError;
use super::db::guarded;
use super::slot::Header;
use super::store::{Inner, StateStore, record_bytes};
use crate::caps;
use crate::keys::{self, RECORD_KEY_BYTES};
use ratequeue_codec::{self as codec, schema};

/// What is written on top of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// An empty slot.
    Nothing,
    /// The finished checkpoint that the slot holds; an empty slot if it holds none.
    Finished,
}

/// Writes one slot. Dropped without [`SlotWriter::commit`], it leaves a slot that does not count.
pub struct SlotWriter {
    inner: Arc<Inner>,
    name: String,
    generation: u64,
    /// What the next batch does to which record.
    batch: BTreeMap<[u8; RECORD_KEY_BYTES], Option<Vec<u8>>>,
    /// Records in the slot, without those of the batch.
    records: u64,
    /// Bytes of those records, with their keys.
    bytes: u64,
    /// What the file took on the disk at the beginning.
    begun_disk_bytes: u64,
    /// Pause after each batch of [`caps::STATE_BATCH_RECORDS_MAX`] records.
    pub pause: Duration,
}

impl SlotWriter {
    pub(super) fn begin(store: &StateStore, name: String, base: Base) -> Result<Self, StateError> {
        let inner = Arc::clone(&store.inner);
        if !inner.writing.lock().insert(name.clone()) {
            return Err(StateError::Busy(name));
        }
        let generation = inner.current.read().generation;
        let mut writer = Self {
            pause: inner.options.pause,
            begun_disk_bytes: inner.disk_bytes(),
            generation,
            inner,
            name,
            batch: BTreeMap::new(),
            records: 0,
            bytes: 0,
        };
        writer.check_space()?;

        // Gone for good before the first record changes: a crash from here on leaves a slot without
        // a header.
        let bytes = writer.inner.whole.lock().remove(&writer.name);
        let removed = writer.sled(|tree| tree.remove(keys::checkpoint_key()))?;
        if removed.is_some() {
            writer.sync()?;
        }
        let header =
            removed.and_then(|value| codec::decode::<Header>(schema::CHECKPOINT, &value).ok());
        match header {
            Some(header) if base == Base::Finished => {
                writer.records = header.records;
                writer.bytes = bytes.unwrap_or_default();
            }
            Some(_) | None => writer.clear()?,
        }
        Ok(writer)
    }

    /// Puts a record, new or in place of an older one.
    ///
    /// # Errors
    /// [`StateError::Refused`] for a value that could not be read again, [`StateError::NoSpace`]
    /// when too little room is left, else what sled or the system says.
    pub fn put(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), StateError> {
        let refused = |detail: String| StateError::Refused { kind, id, detail };
        if !keys::is_record_kind(kind) {
            return Err(refused("unknown kind".to_string()));
        }
        if value.len() > ratequeue_codec::caps::RECORD_BYTES_MAX {
            let max = ratequeue_codec::caps::RECORD_BYTES_MAX;
            return Err(refused(format!("{} bytes, at most {max} are allowed", value.len())));
        }
        codec::verify(value).map_err(|error| refused(error.to_string()))?;
        self.change(keys::record_key(kind, id), Some(value.to_vec()))
    }

    /// Deletes a record; fine when it is not there.
    ///
    /// # Errors
    /// As [`SlotWriter::put`].
    pub fn delete(&mut self, kind: u8, id: u64) -> Result<(), StateError> {
        self.change(keys::record_key(kind, id), None)
    }

    /// Ends the slot with its header. When this returns, the checkpoint is on the disk and counts.
    ///
    /// # Errors
    /// [`StateError::Incomplete`] when the slot has not as many records as the header says,
    /// [`StateError::Refused`] for a header that is too large, else what sled or the system
    /// says. The slot does not count then.
    pub fn commit(mut self, header: &Header) -> Result<(), StateError> {
        let refused =
            |detail: String| StateError::Refused { kind: keys::KIND_CHECKPOINT, id: 0, detail };
        if header.membership.len() > ratequeue_codec::caps::MEMBERSHIP_BYTES_MAX {
            return Err(refused(format!("a membership of {} bytes", header.membership.len())));
        }
        let value = codec::encode(schema::CHECKPOINT, header)
            .map_err(|error| refused(error.to_string()))?;

        self.apply(None)?;
        if self.records != header.records {
            return Err(StateError::Incomplete { records: self.records, expected: header.records });
        }
        self.apply(Some(value))?;
        self.sync()?;
        self.inner.whole.lock().insert(self.name.clone(), self.bytes);
        Ok(())
    }

    /// Deletes all records. That need not be durable: without a header they do not count.
    fn clear(&mut self) -> Result<(), StateError> {
        loop {
            let first = self.sled(|tree| {
                let keys = tree.iter().keys();
                keys.take(caps::STATE_BATCH_RECORDS_MAX).collect::<sled::Result<Vec<_>>>()
            })?;
            if first.is_empty() {
                return Ok(());
            }
            let mut batch = sled::Batch::default();
            first.into_iter().for_each(|key| batch.remove(key));
            self.sled(|tree| tree.apply_batch(batch))?;
            std::thread::sleep(self.pause);
        }
    }

    fn change(
        &mut self,
        key: [u8; RECORD_KEY_BYTES],
        value: Option<Vec<u8>>,
    ) -> Result<(), StateError> {
        self.batch.insert(key, value);
        if self.batch.len() < caps::STATE_BATCH_RECORDS_MAX {
            return Ok(());
        }
        self.check_space()?;
        self.apply(None)?;
        std::thread::sleep(self.pause);
        Ok(())
    }

    /// Writes the batch, the header with it if there is one, and counts what that does to the slot.
    fn apply(&mut self, header: Option<Vec<u8>>) -> Result<(), StateError> {
        let changes = std::mem::take(&mut self.batch);
        let (records, bytes) = self.sled(|tree| {
            let (mut records, mut bytes) = (self.records, self.bytes);
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                if let Some(old) = tree.get(key)? {
                    records = records.saturating_sub(1);
                    bytes = bytes.saturating_sub(record_bytes(old.len()));
                }
                match value {
                    Some(value) => {
                        records = records.saturating_add(1);
                        bytes = bytes.saturating_add(record_bytes(value.len()));
                        batch.insert(key.as_slice(), value);
                    }
                    None => batch.remove(key.as_slice()),
                }
            }
            if let Some(header) = header {
                batch.insert(keys::checkpoint_key().as_slice(), header);
            }
            tree.apply_batch(batch)?;
            Ok((records, bytes))
        })?;

        (self.records, self.bytes) = (records, bytes);
        debug_assert!(self.batch.is_empty(), "a batch is written twice");
        Ok(())
    }

    /// Gives up when little room is left and the writer takes of it. As long as it writes where the
    /// file was before, it takes nothing. If free space cannot be read, the write is attempted.
    fn check_space(&self) -> Result<(), StateError> {
        let Ok(free) = self.inner.options.space.free_bytes(&self.inner.dir) else { return Ok(()) };
        // sled adds a few segments before it uses old ones again.
        let most = self.begun_disk_bytes.saturating_add(caps::STATE_EMPTY_BYTES);
        let has_grown = || self.inner.disk_bytes() > most;

        let is_full = free < caps::STATE_FREE_BYTES_LAST
            || (free < caps::STATE_FREE_BYTES_MIN && has_grown());
        if is_full { Err(StateError::NoSpace { free }) } else { Ok(()) }
    }

    fn sled<T>(&self, call: impl FnOnce(&sled::Tree) -> sled::Result<T>) -> Result<T, StateError> {
        let current = self.inner.current.read();
        // Looked up each time: a tree that is held would keep sled open after the store was closed.
        let done = current
            .usable(self.generation)?
            .tree(&self.name)
            .and_then(|tree| guarded(|| call(&tree)));
        done.inspect_err(|_| self.inner.broken.store(true, Ordering::SeqCst))
    }

    fn sync(&self) -> Result<(), StateError> {
        let done = self.inner.current.write().sync(self.generation);
        done.inspect_err(|_| self.inner.broken.store(true, Ordering::SeqCst))
    }
}

impl Drop for SlotWriter {
    fn drop(&mut self) {
        self.inner.writing.lock().remove(&self.name);
    }
}

impl std::fmt::Debug for SlotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotWriter").field("tree", &self.name).finish_non_exhaustive()
    }
}
