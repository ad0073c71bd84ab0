//! Which records have changed, and the digest over all of them.
//!
//! Records are edited through [`ChangeTracker`] only, so no change goes unnoticed. Hashes are taken
//! late: a record that changes a hundred times between two looks is hashed once.
//!
//! A checkpoint is cut by [`ChangeTracker::freeze`] in constant time and then drained in pieces
//! between applied entries. A record that is about to change before it was drained is set aside as
//! it was.
//!
//! ```text
//!   period 5            period 6            period 7
//!   --------- cut ----- earlier --- cut --- recent --- now
//!                |                   |
//!        a slot of this cut   a slot of this cut: what it lacks is in `recent`
//!        lacks `earlier` and `recent`
//! ```
//! Whoever cuts says what the slot holds that is to be written: nothing ([`Extent::Full`]), or
//! exactly the checkpoint of an earlier cut ([`Extent::Since`]). Two periods are remembered, since
//! two slots are written in turn; a slot that is older has to be written in full. Each record knows
//! in which period it changed last and which checkpoint has it already, so that a change costs no
//! search.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::mem;

use serde::Serialize;

use crate::collections::hash::{Stored, stored_of};

/// A record in memory, with what is known about its hash and its changes.
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    value: T,
    /// What it contributes to the digest and to the size of all records, as of the last look.
    stored: Stored,
    /// The period in which it changed last.
    changed: u32,
    /// The checkpoint that carried it last.
    carried: u32,
    /// It has changed since its hash was taken.
    stale: bool,
}

impl<T> Tracked<T> {
    /// Stands where a record is still to be loaded. There never was a period 0.
    pub fn absent(value: T) -> Self {
        Self { value, stored: Stored::default(), changed: 0, carried: 0, stale: false }
    }

    pub fn is_absent(&self) -> bool {
        self.changed == 0
    }
}

impl<T> std::ops::Deref for Tracked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The time between two cuts. A slot that holds the state as it was at a cut lacks what changed in
/// the period that the cut began, and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub(crate) u32);

/// What a checkpoint has to contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every record: the slot is empty.
    Full,
    /// What has changed since this period began, and which records are gone: the slot holds exactly
    /// the rest.
    Since(Period),
}

/// Why no checkpoint was cut. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCut {
    /// The last one is still being drained.
    #[error("the last checkpoint is still being drained")]
    Draining,
    /// The changes since that period are not remembered: only a full checkpoint can follow.
    #[error("the changes since that checkpoint are not remembered")]
    TooOld,
}

/// Which records have changed, and the digest over all of them. A key `K` has a record `R`, of
/// whatever kind.
#[derive(Debug)]
pub(crate) struct ChangeTracker<K, R> {
    digest: u64,
    /// Of all records and their keys.
    bytes: u64,
    /// Changed since their hashes were taken, each once.
    stale: Vec<K>,
    /// Checkpoints that were cut so far, and the number of the period since the last one.
    period: u32,
    /// Changed in this period, each once.
    recent: Vec<K>,
    /// Changed in the period before.
    earlier: Vec<K>,
    cut: Option<Cut<K, R>>,
}

impl<K, R> Default for ChangeTracker<K, R> {
    fn default() -> Self {
        // Records that are loaded count as changed in period 1.
        let (stale, recent, earlier) = (Vec::new(), Vec::new(), Vec::new());
        Self { digest: 0, bytes: 0, stale, period: 2, recent, earlier, cut: None }
    }
}

/// A checkpoint that is being drained.
#[derive(Debug)]
struct Cut<K, R> {
    /// It carries what has changed in this period and later: everything from 0 on.
    since: u32,
    left: Left<K>,
    /// Records as they were when the checkpoint was cut, for those that have changed since.
    aside: Vec<(K, Option<R>)>,
    /// Removed since the checkpoint was cut.
    removed: BTreeSet<K>,
}

/// What of a checkpoint is still to be drained, beside what was set aside.
#[derive(Debug)]
enum Left<K> {
    /// All records after this one, in the order of their keys.
    All(Option<K>),
    /// So much of `ChangeTracker::earlier`, which the next checkpoint may need too, and what
    /// changed in the period before that.
    Changed { earlier: usize, oldest: Vec<K> },
}

/// Where the next record of a checkpoint is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next<K> {
    /// Under this key, if it is still there.
    Key(K),
    /// Under the first key after this one.
    After(Option<K>),
}

impl<K: Copy + Ord + Debug + Serialize, R> ChangeTracker<K, R> {
    pub fn create<T>(&mut self, key: K, value: T) -> Tracked<T> {
        self.stale.push(key);
        self.recent.push(key);
        Tracked { value, stored: Stored::default(), changed: self.period, carried: 0, stale: true }
    }

    /// Takes a record over as it was stored: a slot has it.
    pub fn load<T: Serialize>(&mut self, key: K, value: T) -> Tracked<T> {
        let stored = stored_of(&(key, &value));
        self.replace(Stored::default(), stored);
        Tracked { value, stored, changed: self.period - 1, carried: 0, stale: false }
    }

    pub fn edit<'a, T: Clone + Into<R>>(
        &mut self,
        key: K,
        tracked: &'a mut Tracked<T>,
    ) -> &'a mut T {
        debug_assert!(!tracked.is_absent(), "{key:?} is edited before it is loaded");
        if !tracked.stale {
            tracked.stale = true;
            self.stale.push(key);
            self.touch(key, tracked);
        }
        &mut tracked.value
    }

    pub fn remove<T: Clone + Into<R>>(&mut self, key: K, mut tracked: Tracked<T>) -> T {
        self.replace(tracked.stored, Stored::default());
        self.touch(key, &mut tracked);
        if let Some(cut) = &mut self.cut {
            cut.removed.insert(key);
        }
        tracked.value
    }

    /// Notes that a record changes in this period, and sets it aside if a checkpoint still needs it
    /// as it is.
    fn touch<T: Clone + Into<R>>(&mut self, key: K, tracked: &mut Tracked<T>) {
        if tracked.changed == self.period {
            return;
        }
        if let Some(cut) = &mut self.cut
            && tracked.changed >= cut.since
            && tracked.carried != self.period
        {
            tracked.carried = self.period;
            cut.aside.push((key, Some(tracked.value.clone().into())));
        }
        tracked.changed = self.period;
        self.recent.push(key);
    }

    pub fn stale_len(&self) -> usize {
        self.stale.len()
    }

    pub fn pop_stale(&mut self) -> Option<K> {
        self.stale.pop()
    }

    pub fn rehash<T: Serialize>(&mut self, key: K, tracked: &mut Tracked<T>) {
        if mem::take(&mut tracked.stale) {
            let stored = stored_of(&(key, &tracked.value));
            self.replace(tracked.stored, stored);
            tracked.stored = stored;
        }
    }

    /// Counts a record as it is now in place of how it was.
    fn replace(&mut self, was: Stored, is: Stored) {
        debug_assert!(
            self.bytes >= u64::from(was.bytes),
            "more bytes are taken off than there are"
        );
        self.digest = self.digest.wrapping_sub(was.hash).wrapping_add(is.hash);
        self.bytes =
            self.bytes.saturating_sub(u64::from(was.bytes)).saturating_add(u64::from(is.bytes));
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Bytes of all records with their keys, of those that are stale as of their last hashes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that have changed since a period began, gone ones too; `None` when that is not
    /// remembered.
    pub fn changed_since(&self, period: Period) -> Option<usize> {
        match self.period.checked_sub(period.0)? {
            0 => Some(self.recent.len()),
            1 => Some(self.recent.len().saturating_add(self.earlier.len())),
            _ => None,
        }
    }

    /// The period that runs now.
    pub fn period(&self) -> Period {
        Period(self.period)
    }

    /// Cuts a checkpoint, and begins a period. All hashes must be fresh. O(1).
    pub fn freeze(&mut self, extent: Extent) -> Result<Period, NotCut> {
        debug_assert!(self.stale.is_empty(), "a checkpoint is cut with hashes that are not fresh");
        if self.cut.is_some() {
            return Err(NotCut::Draining);
        }
        let since = match extent {
            Extent::Full => 0,
            Extent::Since(Period(since)) if since == self.period || since + 1 == self.period => {
                since
            }
            Extent::Since(_) => return Err(NotCut::TooOld),
        };

        let begun = self.period;
        self.period += 1;
        let oldest = mem::replace(&mut self.earlier, mem::take(&mut self.recent));
        let left = match extent {
            Extent::Full => Left::All(None),
            Extent::Since(_) => Left::Changed {
                earlier: self.earlier.len(),
                oldest: if since == begun { Vec::new() } else { oldest },
            },
        };
        self.cut = Some(Cut { since, left, aside: Vec::new(), removed: BTreeSet::new() });
        Ok(Period(self.period))
    }

    /// Gives a checkpoint up that was cut. The slot it was for can only be written in full again.
    pub fn abandon(&mut self) {
        self.cut = None;
    }

    /// Where the next record to drain is, if there is one. Some come twice, and some have been set
    /// aside.
    pub fn next_frozen(&mut self) -> Option<Next<K>> {
        let cut = self.cut.as_mut()?;
        match &mut cut.left {
            Left::All(after) => Some(Next::After(*after)),
            Left::Changed { earlier, oldest } => {
                if *earlier > 0 {
                    *earlier -= 1;
                    return self.earlier.get(*earlier).copied().map(Next::Key);
                }
                oldest.pop().map(Next::Key)
            }
        }
    }

    /// A full checkpoint has come to this key; to its end without one.
    pub fn passed(&mut self, key: Option<K>) {
        let Some(cut) = &mut self.cut else { return };
        cut.left = match key {
            Some(key) => Left::All(Some(key)),
            None => Left::Changed { earlier: 0, oldest: Vec::new() },
        };
    }

    /// The record of a key to drain, if this checkpoint does not have it yet.
    pub fn carry<T: Clone + Into<R>>(&self, tracked: &mut Tracked<T>) -> Option<R> {
        // One that has changed since the checkpoint was cut was set aside then, or is newer than
        // the checkpoint.
        if tracked.carried == self.period || tracked.changed == self.period {
            return None;
        }
        tracked.carried = self.period;
        Some(tracked.value.clone().into())
    }

    /// True when the record of a key to drain was gone when the checkpoint was cut.
    pub fn was_gone(&self, key: K) -> bool {
        self.cut.as_ref().is_some_and(|cut| !cut.removed.contains(&key))
    }

    pub fn take_aside(&mut self) -> Vec<(K, Option<R>)> {
        self.cut.as_mut().map(|cut| mem::take(&mut cut.aside)).unwrap_or_default()
    }

    /// Ends the draining once nothing is left; true when it did.
    pub fn finish(&mut self) -> bool {
        let is_done = |cut: &Cut<K, R>| {
            let nothing_left = match &cut.left {
                Left::All(_) => false,
                Left::Changed { earlier, oldest } => *earlier == 0 && oldest.is_empty(),
            };
            nothing_left && cut.aside.is_empty()
        };
        let done = self.cut.as_ref().is_none_or(is_done);
        if done {
            self.cut = None;
        }
        done
    }
}
