//! [`SlotWriter`]: writes one slot, in small steps, so that it counts whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use super::StateError;
use super::db::guarded;
use super::store::{Header, Inner, StateStore};
use crate::caps;
use crate::codec;
use crate::keys;

/// Writes one slot. Dropped without [`SlotWriter::commit`], it leaves a slot that does not count.
pub struct SlotWriter {
    inner: Arc<Inner>,
    name: String,
    generation: u64,
    batch: sled::Batch,
    batched: usize,
    /// Pause after each batch of [`caps::STATE_BATCH_RECORDS_MAX`] records.
    pub pause: Duration,
}

impl SlotWriter {
    pub(super) fn begin(store: &StateStore, name: String) -> Result<Self, StateError> {
        let inner = Arc::clone(&store.inner);
        if !inner.writing.lock().insert(name.clone()) {
            return Err(StateError::Busy(name));
        }
        let generation = inner.current.read().generation;
        let writer =
            Self { pause: inner.options.pause, generation, inner, name, batch: sled::Batch::default(), batched: 0 };
        // Gone for good before the first record changes: a crash from here on leaves a slot without a header.
        let removed = writer.sled(|tree| tree.remove(keys::checkpoint_key()))?;
        if removed.is_some() {
            writer.sync()?;
        }
        Ok(writer)
    }

    /// Puts a record, new or in place of an older one.
    ///
    /// # Errors
    /// [`StateError::Refused`] for a value that could not be read again, else what sled or the system says.
    pub fn put(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), StateError> {
        let refused = |detail: String| StateError::Refused { kind, id, detail };
        if !keys::is_record_kind(kind) {
            return Err(refused("unknown kind".to_string()));
        }
        if value.len() > caps::STATE_RECORD_BYTES_MAX {
            let max = caps::STATE_RECORD_BYTES_MAX;
            return Err(refused(format!("{} bytes, at most {max} are allowed", value.len())));
        }
        codec::verify(value).map_err(|error| refused(error.to_string()))?;
        self.batch.insert(keys::record_key(kind, id).as_slice(), value);
        self.batched()
    }

    /// Deletes a record; fine when it is not there.
    ///
    /// # Errors
    /// What sled or the system says.
    pub fn delete(&mut self, kind: u8, id: u64) -> Result<(), StateError> {
        self.batch.remove(keys::record_key(kind, id).as_slice());
        self.batched()
    }

    /// Ends the slot with its header. When this returns, the checkpoint is on the disk and counts.
    ///
    /// # Errors
    /// [`StateError::Refused`] for a header that is too large, else what sled or the system says. The slot does not
    /// count then.
    pub fn commit(mut self, header: &Header) -> Result<(), StateError> {
        let refused = |detail: String| StateError::Refused { kind: keys::KIND_CHECKPOINT, id: 0, detail };
        if header.membership.len() > caps::MEMBERSHIP_BYTES_MAX {
            return Err(refused(format!("a membership of {} bytes", header.membership.len())));
        }
        let value = codec::encode(keys::CHECKPOINT, header).map_err(|error| refused(error.to_string()))?;
        self.batch.insert(keys::checkpoint_key().as_slice(), value);
        self.apply()?;
        self.sync()
    }

    /// Deletes all records. The slot stays without a header.
    pub(super) fn clear(mut self) -> Result<(), StateError> {
        loop {
            let first = self.sled(|tree| {
                let keys = tree.iter().keys();
                keys.take(caps::STATE_BATCH_RECORDS_MAX).collect::<sled::Result<Vec<_>>>()
            })?;
            if first.is_empty() {
                return self.sync();
            }
            first.into_iter().for_each(|key| self.batch.remove(key));
            self.apply()?;
            std::thread::sleep(self.pause);
        }
    }

    fn batched(&mut self) -> Result<(), StateError> {
        self.batched += 1;
        if self.batched < caps::STATE_BATCH_RECORDS_MAX {
            return Ok(());
        }
        self.apply()?;
        std::thread::sleep(self.pause);
        Ok(())
    }

    fn apply(&mut self) -> Result<(), StateError> {
        self.batched = 0;
        let batch = std::mem::take(&mut self.batch);
        self.sled(|tree| tree.apply_batch(batch))
    }

    fn sled<T>(&self, call: impl FnOnce(&sled::Tree) -> sled::Result<T>) -> Result<T, StateError> {
        let current = self.inner.current.read();
        // Looked up each time: a tree that is held would keep sled open after the store was closed.
        let tree = current.usable(self.generation)?.tree(&self.name)?;
        guarded(|| call(&tree))
    }

    fn sync(&self) -> Result<(), StateError> {
        self.inner.current.write().sync(self.generation)
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
