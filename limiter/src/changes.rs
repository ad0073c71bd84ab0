//! Which records have changed, and the digest over all of them.
//!
//! Records are edited through [`Changes`] only, so no change goes unnoticed. Hashes are taken late: a record that
//! changes a hundred times between two looks is hashed once.
//!
//! A checkpoint is cut by [`Changes::freeze`] in constant time and then drained in pieces between applied entries. A
//! record that is about to change before it was drained is set aside as it was. A checkpoint writes into one of two
//! slots in turn, so it carries what has changed since the checkpoint before the last: in the last two *periods*. Each
//! record knows in which period it changed last and which checkpoint has it already, so that a change costs no search.

use std::collections::BTreeSet;
use std::mem;

use serde::Serialize;

use crate::hash::hash_of;
use crate::record::{Record, RecordKey};

/// A record in memory, with what is known about its hash and its changes.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    value: T,
    /// What it contributes to the digest.
    hash: u64,
    /// The period in which it changed last.
    changed: u32,
    /// The checkpoint that carried it last.
    carried: u32,
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
#[derive(Debug)]
pub(crate) struct Changes {
    digest: u64,
    /// Changed since their hashes were taken, each once.
    stale: Vec<RecordKey>,
    /// Checkpoints that were cut so far, and the number of the period since the last one.
    period: u32,
    /// Changed in this period, each once.
    recent: Vec<RecordKey>,
    /// Changed in the period before.
    earlier: Vec<RecordKey>,
    cut: Option<Cut>,
}

impl Default for Changes {
    fn default() -> Self {
        // Records that are loaded count as changed in period 1.
        let (stale, recent, earlier) = (Vec::new(), Vec::new(), Vec::new());
        Self { digest: 0, stale, period: 2, recent, earlier, cut: None }
    }
}

/// A checkpoint that is being drained: what changed in the two periods before it.
#[derive(Debug, Default)]
struct Cut {
    /// How much of `Changes::earlier`, which the next checkpoint will need too, is still to be drained.
    left: usize,
    /// Of the period before that, what is still to be drained.
    oldest: Vec<RecordKey>,
    /// Records as they were when the checkpoint was cut, for those that have changed since.
    aside: Vec<(RecordKey, Option<Record>)>,
    /// Removed since the checkpoint was cut.
    removed: BTreeSet<RecordKey>,
}

impl Changes {
    pub fn create<T>(&mut self, key: RecordKey, value: T) -> Slot<T> {
        self.stale.push(key);
        self.recent.push(key);
        Slot { value, hash: 0, changed: self.period, carried: 0, stale: true }
    }

    /// Takes a record over as it was stored. The next checkpoint carries it, since the slot it goes to may not have it.
    pub fn load<T: Serialize>(&mut self, key: RecordKey, value: T) -> Slot<T> {
        let hash = hash_of(&(key, &value));
        self.digest = self.digest.wrapping_add(hash);
        self.earlier.push(key);
        Slot { value, hash, changed: self.period - 1, carried: 0, stale: false }
    }

    pub fn edit<'a, T: Clone + Into<Record>>(&mut self, key: RecordKey, slot: &'a mut Slot<T>) -> &'a mut T {
        if !slot.stale {
            slot.stale = true;
            self.stale.push(key);
            self.touch(key, slot);
        }
        &mut slot.value
    }

    pub fn remove<T: Clone + Into<Record>>(&mut self, key: RecordKey, mut slot: Slot<T>) -> T {
        self.digest = self.digest.wrapping_sub(slot.hash);
        self.touch(key, &mut slot);
        if let Some(cut) = &mut self.cut {
            cut.removed.insert(key);
        }
        slot.value
    }

    /// Notes that a record changes in this period, and sets it aside if a checkpoint still needs it as it is.
    fn touch<T: Clone + Into<Record>>(&mut self, key: RecordKey, slot: &mut Slot<T>) {
        if slot.changed == self.period {
            return;
        }
        if let Some(cut) = &mut self.cut
            && slot.changed + 2 >= self.period
            && slot.carried != self.period
        {
            slot.carried = self.period;
            cut.aside.push((key, Some(slot.value.clone().into())));
        }
        slot.changed = self.period;
        self.recent.push(key);
    }

    pub fn stale_len(&self) -> usize {
        self.stale.len()
    }

    pub fn pop_stale(&mut self) -> Option<RecordKey> {
        self.stale.pop()
    }

    pub fn rehash<T: Serialize>(&mut self, key: RecordKey, slot: &mut Slot<T>) {
        if mem::take(&mut slot.stale) {
            let hash = hash_of(&(key, &slot.value));
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
        self.period += 1;
        let oldest = mem::replace(&mut self.earlier, mem::take(&mut self.recent));
        self.cut = Some(Cut { left: self.earlier.len(), oldest, ..Cut::default() });
        true
    }

    /// The next key to drain, if any. Some come twice, and some have been set aside.
    pub fn next_frozen(&mut self) -> Option<RecordKey> {
        let cut = self.cut.as_mut()?;
        if cut.left > 0 {
            cut.left -= 1;
            return self.earlier.get(cut.left).copied();
        }
        cut.oldest.pop()
    }

    /// The record of a key to drain, if this checkpoint does not have it yet.
    pub fn carry<T: Clone + Into<Record>>(&self, slot: &mut Slot<T>) -> Option<Record> {
        // One that has changed since the checkpoint was cut was set aside then, and so carried.
        if slot.carried == self.period {
            return None;
        }
        slot.carried = self.period;
        Some(slot.value.clone().into())
    }

    /// True when the record of a key to drain was gone when the checkpoint was cut.
    pub fn was_gone(&self, key: RecordKey) -> bool {
        self.cut.as_ref().is_some_and(|cut| !cut.removed.contains(&key))
    }

    pub fn take_aside(&mut self) -> Vec<(RecordKey, Option<Record>)> {
        self.cut.as_mut().map(|cut| mem::take(&mut cut.aside)).unwrap_or_default()
    }

    /// Ends the draining once nothing is left; true when it did.
    pub fn finish(&mut self) -> bool {
        let done = self.cut.as_ref().is_none_or(|cut| cut.left == 0 && cut.oldest.is_empty() && cut.aside.is_empty());
        if done {
            self.cut = None;
        }
        done
    }
}
