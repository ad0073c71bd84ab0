//! Which records have changed, and the digest over all of them.
//!
//! Records are edited through [`Changes`] only, so no change goes unnoticed. Hashes are taken late: a record that
//! changes a hundred times between two looks is hashed once.
//!
//! A checkpoint is cut by [`Changes::freeze`] in constant time and then drained in pieces between applied entries. A
//! record that is about to change before it was drained is set aside as it was. A checkpoint writes into one of two
//! slots in turn, so it carries what has changed since the checkpoint before the last.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::mem;

use serde::Serialize;
use siphasher::sip::SipHasher13;

use crate::record::{Record, RecordKey};

/// A record in memory, with what is known about its hash.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    value: T,
    /// What it contributes to the digest.
    hash: u64,
    /// It has changed since its hash was taken.
    stale: bool,
}

impl<T> std::ops::Deref for Slot<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Which records have changed, and the digest over all of them.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    digest: u64,
    /// Changed since their hashes were taken, each once.
    stale: Vec<RecordKey>,
    /// Changed since the last checkpoint was cut, without the stale ones.
    recent: BTreeSet<RecordKey>,
    /// Changed between the last two checkpoints that were cut.
    earlier: BTreeSet<RecordKey>,
    cut: Option<Cut>,
    scratch: Vec<u8>,
}

/// A checkpoint that is being drained.
#[derive(Debug, Default)]
struct Cut {
    recent: BTreeSet<RecordKey>,
    earlier: BTreeSet<RecordKey>,
    /// Records as they were when the checkpoint was cut, for those that have changed since.
    aside: Vec<(RecordKey, Option<Record>)>,
}

impl Cut {
    /// True when `key` was still to be drained. `kept` collects the keys that the other slot will need too.
    fn claim(&mut self, key: RecordKey, kept: &mut BTreeSet<RecordKey>) -> bool {
        let earlier = self.earlier.remove(&key);
        let recent = self.recent.remove(&key);
        if recent {
            kept.insert(key);
        }
        recent || earlier
    }
}

/// What one record contributes to the digest.
fn hash_of(key: RecordKey, value: &impl Serialize, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    // Writing to memory does not fail; were it to, all replicas would leave the record out alike.
    let bytes = postcard::to_extend(&(key, value), mem::take(scratch)).unwrap_or_default();
    let mut hasher = SipHasher13::new();
    hasher.write(&bytes);
    *scratch = bytes;
    hasher.finish()
}

impl Changes {
    pub fn create<T>(&mut self, key: RecordKey, value: T) -> Slot<T> {
        self.set_aside(key, || None);
        self.stale.push(key);
        Slot { value, hash: 0, stale: true }
    }

    /// Takes a record over as it was stored. The next checkpoint carries it, since the slot it goes to may not have it.
    pub fn load<T: Serialize>(&mut self, key: RecordKey, value: T) -> Slot<T> {
        let hash = hash_of(key, &value, &mut self.scratch);
        self.digest = self.digest.wrapping_add(hash);
        self.earlier.insert(key);
        Slot { value, hash, stale: false }
    }

    pub fn edit<'a, T: Clone + Into<Record>>(&mut self, key: RecordKey, slot: &'a mut Slot<T>) -> &'a mut T {
        if !slot.stale {
            slot.stale = true;
            self.stale.push(key);
            self.set_aside(key, || Some(slot.value.clone().into()));
        }
        &mut slot.value
    }

    pub fn remove<T: Clone + Into<Record>>(&mut self, key: RecordKey, slot: Slot<T>) -> T {
        self.digest = self.digest.wrapping_sub(slot.hash);
        if !slot.stale {
            self.stale.push(key);
            self.set_aside(key, || Some(slot.value.clone().into()));
        }
        slot.value
    }

    fn set_aside(&mut self, key: RecordKey, record: impl FnOnce() -> Option<Record>) {
        if let Some(cut) = &mut self.cut
            && cut.claim(key, &mut self.earlier)
        {
            cut.aside.push((key, record()));
        }
    }

    pub fn stale_len(&self) -> usize {
        self.stale.len()
    }

    pub fn pop_stale(&mut self) -> Option<RecordKey> {
        let key = self.stale.pop()?;
        self.recent.insert(key);
        Some(key)
    }

    pub fn rehash<T: Serialize>(&mut self, key: RecordKey, slot: &mut Slot<T>) {
        if mem::take(&mut slot.stale) {
            let hash = hash_of(key, &slot.value, &mut self.scratch);
            self.digest = self.digest.wrapping_sub(slot.hash).wrapping_add(hash);
            slot.hash = hash;
        }
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Cuts a checkpoint. All hashes must be fresh. False, and nothing is cut, while the last one is being drained.
    pub fn freeze(&mut self) -> bool {
        if self.cut.is_some() {
            return false;
        }
        let (recent, earlier) = (mem::take(&mut self.recent), mem::take(&mut self.earlier));
        self.cut = Some(Cut { recent, earlier, aside: Vec::new() });
        true
    }

    /// The next key to drain, if any.
    pub fn next_frozen(&mut self) -> Option<RecordKey> {
        let cut = self.cut.as_mut()?;
        let key = cut.recent.first().or_else(|| cut.earlier.first()).copied()?;
        cut.claim(key, &mut self.earlier);
        Some(key)
    }

    pub fn take_aside(&mut self) -> Vec<(RecordKey, Option<Record>)> {
        self.cut.as_mut().map(|cut| mem::take(&mut cut.aside)).unwrap_or_default()
    }

    /// Ends the draining once nothing is left; true when it did.
    pub fn finish(&mut self) -> bool {
        let done =
            self.cut.as_ref().is_none_or(|cut| cut.recent.is_empty() && cut.earlier.is_empty() && cut.aside.is_empty());
        if done {
            self.cut = None;
        }
        done
    }
}
