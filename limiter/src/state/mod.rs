//! The state of one group: its records, and the indexes that are derived from them.
//!
//! What is kept, and how it is read. Nothing in this room decides: the stages of a lease change in
//! `lease/`, and commands are decided in `commands/`.

pub(crate) mod catalog;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod claim;
pub(crate) mod defect;
pub(crate) mod estimate;
pub(crate) mod forms;
pub(crate) mod indexes;
pub(crate) mod lease;
pub(crate) mod load;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod resource;
pub(crate) mod schedule;
pub(crate) mod shelf;
pub(crate) mod view;

use crate::model::event::{Event, EventKind, Standing};
use crate::model::level::{LEVEL_FIRST, Level};
use crate::model::time::LogTime;
use crate::state::changes::{Extent, NotCut, Period};
use crate::state::defect::Defect;
use crate::state::indexes::Indexes;
use crate::state::records::{Record, RecordKey, Records};
use crate::state::resource::Resource;

/// The state of one group. It changes by [`State::apply`] only.
#[derive(Debug)]
pub struct State {
    pub(crate) records: Records,
    pub(crate) indexes: Indexes,
    /// Defects met since the process began: no part of what is replicated.
    pub(crate) defects: u64,
}

/// A checkpoint that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Records in the state.
    pub records: u64,
    /// Their digest.
    pub digest: u64,
    /// The period that it began: a slot that holds it lacks what changes from then on.
    pub period: Period,
}

/// What is the same for all commands of one entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub index: u64,
    pub now: LogTime,
    pub events: Vec<Event>,
    /// Leases that the entry may still expire, time out, grant or end beyond those that its
    /// commands speak of.
    pub work_left: usize,
    /// Defects met by what no command asked for.
    pub defects: u64,
}

impl Entry {
    /// Tells what has just happened to a resource, which is as it is after it.
    pub fn emit(&mut self, resource: &Resource, kind: EventKind) {
        let standing = (!resource.deleted).then(|| Standing {
            queue_depth: resource.live.queue.total().count,
            held: u64::try_from(resource.live.held.len()).unwrap_or(u64::MAX),
        });
        self.events.push(Event { resource: resource.name.clone(), standing, kind });
    }

    /// Notes a defect that nobody can be told of.
    pub fn note(&mut self, _: Defect) {
        self.defects += 1;
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// An empty state at the beginning of log time.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// The same, with a seed for what is derived from the records: a number of this process's own,
    /// so that nobody can choose names that are slow to find.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { records: Records::new(), indexes: Indexes::seeded(seed), defects: 0 }
    }

    /// The feature level: which rules count.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.level().0
    }

    pub(crate) fn level(&self) -> Level {
        Level(self.records.features.as_ref().map_or(LEVEL_FIRST, |features| features.level))
    }

    /// Log time of the last applied entry.
    #[must_use]
    pub fn now(&self) -> LogTime {
        self.records.meta.now
    }

    /// How often this process has met what cannot be. More than 0 is a fault of the program, the
    /// same on every replica: the commands were refused with [`crate::Refusal::Internal`], and
    /// time passed by what it should have changed.
    #[must_use]
    pub fn defects(&self) -> u64 {
        self.defects
    }

    /// An order-independent hash over all records: equal on all replicas that applied the same
    /// entries.
    pub fn digest(&mut self) -> u64 {
        self.records.rehash();
        self.records.changes.digest()
    }

    /// Records in the state.
    #[must_use]
    pub fn records(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap_or(u64::MAX)
    }

    /// Bytes of all records with their keys, without the envelopes that a checkpoint has around
    /// each. What the last [`crate::caps::STALE_RECORDS_MAX`] changes did to it may be missing.
    /// O(1).
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.records.changes.bytes()
    }

    /// Records that have changed since a period began, gone ones too; `None` when only a full
    /// checkpoint can follow. O(1).
    #[must_use]
    pub fn changed_since(&self, period: Period) -> Option<u64> {
        let changed = self.records.changes.changed_since(period)?;
        Some(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    /// The period that runs now. A slot that holds the state as it is now, for which it is loaded
    /// or has just been cut, lacks what changes in it and later.
    #[must_use]
    pub fn period(&self) -> Period {
        self.records.changes.period()
    }

    /// Cuts a checkpoint of the state as it is now, to be carried away by [`State::drain`]. Its
    /// cost does not depend on the size of the state.
    ///
    /// # Errors
    /// [`NotCut`] while the last one is being drained, or when the changes since that period are
    /// not remembered.
    pub fn freeze(&mut self, extent: Extent) -> Result<Cut, NotCut> {
        let (records, digest) = (self.records(), self.digest());
        let period = self.records.changes.freeze(extent)?;
        Ok(Cut { records, digest, period })
    }

    /// Gives up the checkpoint that is being drained, if there is one.
    pub fn abandon(&mut self) {
        self.records.changes.abandon();
    }

    /// Hands out about `max` records of the checkpoint that was cut, each at most once: as they
    /// were then, and `None` for those that were gone. A record that a slot has never seen may
    /// be among the gone. False when there are no more.
    pub fn drain(&mut self, max: usize, out: &mut Vec<(RecordKey, Option<Record>)>) -> bool {
        self.records.drain(max, out)
    }

    /// All records, in key order. For tests and small states; a checkpoint drains instead.
    pub fn to_records(&self) -> impl Iterator<Item = (RecordKey, Record)> {
        self.records.iter()
    }
}
