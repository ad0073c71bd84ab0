//! The two slots of a group's checkpoint, and the one owner of what is known about them.
//!
//! ```text
//!            newest                        spare
//!   slot 0: sequence 7, whole      slot 1: sequence 6, whole, or unknown
//!                                          ^ the next checkpoint, or a snapshot from the leader
//! ```
//!
//! A slot is whole or unknown. Whole, it holds exactly the checkpoint of its header, and mostly it is known in which period
//! of the state that was cut: then only what has changed since has to be written ([`Extent::Since`]). Of anything else nothing
//! is assumed: the slot is emptied, and written in full. A slot becomes unknown when it is opened for writing and whole when
//! its header is on the disk, so whatever ends in between (an error, a panic, a snapshot that is not installed) leaves an
//! unknown slot behind, without anybody having to say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use ratequeue_limiter::{Extent, LEVEL_MAX, NotCut, Period, Record, RecordKey, State};
use ratequeue_storage::{
    CodecError, GroupName, Header, RecordSink, Slot, SlotError, SlotWriter, StateError, StateStore,
};

use crate::format::membership;
use crate::format::record::{self, StateSink};
use crate::health;
use crate::replica::Replica;

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The group is being dropped.
    #[error("stopped")]
    Stopped,
    /// The slots are being written by somebody else, or the spare one is being read.
    #[error("the slots are in use")]
    Busy,
    /// There is too little room for it.
    #[error("{free} bytes are free, it may need {needed}")]
    NoSpace { free: u64, needed: u64 },
    /// It is of a state whose rules this version does not know.
    #[error("{}", health::outdated(*.0))]
    Outdated(u32),
    #[error(transparent)]
    NotCut(#[from] NotCut),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl CheckpointError {
    /// Whether it can be tried again later. A slot that was begun is given up, and the next checkpoint is a full one.
    pub fn is_deferred(&self) -> bool {
        match self {
            Self::Busy | Self::NoSpace { .. } | Self::NotCut(_) => true,
            Self::State(error) => !error.is_final() && !matches!(error, StateError::Refused { .. }),
            Self::Stopped | Self::Outdated(_) | Self::Slot(_) | Self::Codec(_) => false,
        }
    }

    /// Whether the disk is too full for it.
    pub fn is_no_room(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::State(error) => error.is_storage_full() && !error.is_final(),
            Self::Stopped | Self::Busy | Self::Outdated(_) | Self::NotCut(_) | Self::Slot(_) | Self::Codec(_) => false,
        }
    }

    /// Whether nothing is wrong but that it is not the time for it.
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::Busy | Self::State(StateError::Busy(_) | StateError::NoDescriptors { .. }))
            || self.is_no_room()
    }
}

/// A whole slot.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub slot: Slot,
    pub header: Header,
}

/// What a slot holds.
#[derive(Debug, Clone, Default)]
enum Content {
    /// Nothing to be relied on.
    #[default]
    Unknown,
    Whole(Whole),
}

/// A checkpoint that is on the disk.
#[derive(Debug, Clone)]
struct Whole {
    header: Header,
    /// Bytes of its records.
    bytes: u64,
    /// The period that began when it was cut; `None` when it is no checkpoint of the state that is in use.
    period: Option<Period>,
}

impl Whole {
    fn at(&self, slot: Slot) -> Checkpoint {
        Checkpoint { slot, header: self.header.clone() }
    }
}

/// What is known about the slots.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    contents: [Content; 2],
    /// How many read them.
    pins: [u32; 2],
}

fn index(slot: Slot) -> usize {
    match slot {
        Slot::Zero => 0,
        Slot::One => 1,
    }
}

impl SlotTable {
    /// What a start knows: from which slot the state was loaded, if from any.
    pub fn loaded(newest: Option<Checkpoint>, bytes: u64, state: &State) -> Self {
        let mut table = Self::default();
        if let Some(Checkpoint { slot, header }) = newest {
            table.set(slot, Content::Whole(Whole { header, bytes, period: Some(state.period()) }));
        }
        table
    }

    fn whole(&self, slot: Slot) -> Option<&Whole> {
        match self.contents.get(index(slot)) {
            Some(Content::Whole(whole)) => Some(whole),
            Some(Content::Unknown) | None => None,
        }
    }

    fn set(&mut self, slot: Slot, content: Content) {
        if let Some(place) = self.contents.get_mut(index(slot)) {
            *place = content;
        }
    }

    fn wholes(&self) -> impl Iterator<Item = (Slot, &Whole)> {
        Slot::ALL.into_iter().filter_map(|slot| Some((slot, self.whole(slot)?)))
    }

    /// What a restart would begin with.
    fn newest(&self) -> Option<(Slot, &Whole)> {
        self.wholes().max_by_key(|(_, whole)| whole.header.sequence)
    }

    /// Where the next checkpoint goes.
    fn spare(&self) -> Slot {
        self.newest().map_or(Slot::Zero, |(slot, _)| slot.other())
    }

    fn is_pinned(&self, slot: Slot) -> bool {
        self.pins.get(index(slot)).is_some_and(|pins| *pins > 0)
    }
}

/// The slots of one group.
pub(crate) struct Slots {
    store: StateStore,
    group: GroupName,
    table: Mutex<SlotTable>,
    writing: AtomicBool,
}

/// The right to write the spare slot: a checkpoint or a snapshot, one at a time.
pub(crate) struct SlotWriteGuard(Arc<Slots>);

impl Drop for SlotWriteGuard {
    fn drop(&mut self) {
        let Slots { store, group, .. } = &*self.0;
        debug_assert!(!store.is_written(group), "the right to write a slot is given back before its writer is gone");
        self.0.writing.store(false, Ordering::SeqCst);
    }
}

/// Keeps a slot from being overwritten while it is read.
pub(crate) struct Pin(Arc<Slots>, Slot);

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(pins) = self.0.table.lock().pins.get_mut(index(self.1)) {
            *pins = pins.saturating_sub(1);
        }
    }
}

/// The spare slot, while it is written. It is unknown until [`OpenSlot::finish`]. Fields are dropped in this order: the
/// right to write must be the last to go.
struct OpenSlot {
    writer: SlotWriter,
    slot: Slot,
    sequence: u64,
    /// Bytes of the records that it is written on top of.
    base_bytes: u64,
    guard: SlotWriteGuard,
}

impl Slots {
    pub fn new(store: StateStore, group: GroupName, table: SlotTable) -> Arc<Self> {
        Arc::new(Self { store, group, table: Mutex::new(table), writing: AtomicBool::new(false) })
    }

    pub fn newest(&self) -> Option<Checkpoint> {
        self.table.lock().newest().map(|(slot, whole)| whole.at(slot))
    }

    /// The checkpoint of this sequence, if it is still there.
    pub fn of_sequence(&self, sequence: u64) -> Option<Checkpoint> {
        let table = self.table.lock();
        let found = table.wholes().find(|(_, whole)| whole.header.sequence == sequence);
        found.map(|(slot, whole)| whole.at(slot))
    }

    /// The log may be purged up to the last entry in there: a restart that finds the newest slot damaged begins with it.
    pub fn older(&self) -> Option<Header> {
        let table = self.table.lock();
        table.newest().and_then(|(slot, _)| table.whole(slot.other())).map(|whole| whole.header.clone())
    }

    /// Bytes of the records of the larger slot.
    pub fn bytes(&self) -> u64 {
        self.table.lock().wholes().map(|(_, whole)| whole.bytes).max().unwrap_or_default()
    }

    /// Keeps `slot` as it is for as long as the result exists.
    pub fn pin(self: &Arc<Self>, slot: Slot) -> Pin {
        if let Some(pins) = self.table.lock().pins.get_mut(index(slot)) {
            *pins = pins.saturating_add(1);
        }
        Pin(Arc::clone(self), slot)
    }

    pub fn store(&self) -> &StateStore {
        &self.store
    }

    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// What a checkpoint into the spare slot would have to contain now.
    pub fn plan(&self) -> Extent {
        let table = self.table.lock();
        let period = table.whole(table.spare()).and_then(|whole| whole.period);
        period.map_or(Extent::Full, Extent::Since)
    }

    /// Opens the spare slot, to be written to this extent.
    fn open(self: &Arc<Self>, extent: Option<Extent>) -> Result<(OpenSlot, Extent), CheckpointError> {
        if self.writing.swap(true, Ordering::SeqCst) {
            return Err(CheckpointError::Busy);
        }
        let guard = SlotWriteGuard(Arc::clone(self));
        let extent = extent.unwrap_or_else(|| self.plan());

        let (slot, sequence, base_bytes) = {
            let mut table = self.table.lock();
            let slot = table.spare();
            if table.is_pinned(slot) {
                return Err(CheckpointError::Busy);
            }
            let sequence = table.newest().map_or(0, |(_, newest)| newest.header.sequence).saturating_add(1);
            let base = table.whole(slot).filter(|_| extent != Extent::Full);
            let base_bytes = base.map_or(0, |whole| whole.bytes);
            table.set(slot, Content::Unknown);
            (slot, sequence, base_bytes)
        };

        let writer = match extent {
            Extent::Full => self.store.begin_empty(&self.group, slot)?,
            Extent::Since(_) => self.store.begin(&self.group, slot)?,
        };
        Ok((OpenSlot { writer, slot, sequence, base_bytes, guard }, extent))
    }

    /// Writes a checkpoint of the state as it is now into the spare slot. Blocks, for as long as there are records to write,
    /// and locks the state for short steps only.
    ///
    /// # Errors
    /// [`CheckpointError::is_deferred`] tells whether the group can go on.
    pub fn checkpoint(
        self: &Arc<Self>,
        replica: &Replica,
        records_max: usize,
        stop: &AtomicBool,
    ) -> Result<Header, CheckpointError> {
        let (slot, extent) = self.open(None)?;
        let made = self.write(slot, extent, replica, records_max, stop);
        if made.is_err() {
            replica.machine.write().state.abandon();
        }
        made
    }

    fn write(
        &self,
        mut open: OpenSlot,
        extent: Extent,
        replica: &Replica,
        records_max: usize,
        stop: &AtomicBool,
    ) -> Result<Header, CheckpointError> {
        let (cut, applied, members) = {
            let mut machine = replica.machine.write();
            let cut = machine.state.freeze(extent)?;
            // What is applied from here on is not in it.
            replica.checkpoints.reset();
            (cut, machine.applied, machine.membership.clone())
        };
        let membership = membership::encode_stored(&members)?;

        let mut changes: Vec<(RecordKey, Option<Record>)> = Vec::new();
        loop {
            let more = replica.machine.write().state.drain(records_max, &mut changes);
            for (key, record) in changes.drain(..) {
                let (kind, id) = record::stored_key(key);
                match record {
                    Some(record) => open.writer.put(kind, id, &record::encode(&record)?)?,
                    None => open.writer.delete(kind, id)?,
                }
            }
            if stop.load(Ordering::Relaxed) {
                return Err(CheckpointError::Stopped);
            }
            if !more {
                break;
            }
        }

        let sequence = open.sequence;
        let header =
            Header { applied, membership, records: cut.records, digest: cut.digest, sequence, received: false };
        open.finish(&header, cut.period)?;
        Ok(header)
    }

    /// Opens the spare slot for a snapshot from elsewhere.
    pub fn receive(self: &Arc<Self>) -> Result<Incoming, CheckpointError> {
        let (open, _) = self.open(Some(Extent::Full))?;
        Ok(Incoming { open, sink: StateSink::default(), records: 0 })
    }
}

impl OpenSlot {
    /// Makes the slot the newest checkpoint, durably. Gives the right to write back when the result is dropped.
    fn finish(self, header: &Header, period: Period) -> Result<SlotWriteGuard, StateError> {
        let grown = self.writer.commit(header)?;
        let bytes = self.base_bytes.saturating_add_signed(grown);
        let whole = Whole { header: header.clone(), bytes, period: Some(period) };
        self.guard.0.table.lock().set(self.slot, Content::Whole(whole));
        Ok(self.guard)
    }
}

/// A snapshot that is being written into the spare slot. Nothing counts before [`Received::commit`]. Its methods block.
pub(crate) struct Incoming {
    open: OpenSlot,
    sink: StateSink,
    records: u64,
}

impl Incoming {
    pub fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), CheckpointError> {
        self.sink.record(kind, id, value)?;
        self.open.writer.put(kind, id, value)?;
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// The digest of what came so far.
    pub fn digest(&mut self) -> u64 {
        self.sink.digest()
    }

    /// Compares what came with what was promised, and puts the state together.
    pub fn finish(mut self, promised: &Header) -> Result<Received, CheckpointError> {
        let digest = self.sink.digest();
        if (self.records, digest) != (promised.records, promised.digest) {
            return Err(CheckpointError::Slot(SlotError::Mismatch {
                records: self.records,
                records_expected: promised.records,
                digest,
                digest_expected: promised.digest,
            }));
        }
        let header = Header { sequence: self.open.sequence, received: true, ..promised.clone() };
        let state = self.sink.finish()?;
        if state.feature_level() > LEVEL_MAX {
            return Err(CheckpointError::Outdated(state.feature_level()));
        }
        Ok(Received { open: self.open, header, state })
    }
}

/// A snapshot that has come whole.
pub(crate) struct Received {
    open: OpenSlot,
    header: Header,
    state: State,
}

impl Received {
    /// Makes it the newest checkpoint, durably, and hands out its state. Blocks for a few fsyncs. The right to write is to be
    /// kept until the state is in use: a checkpoint of the old one would take the place of the new.
    pub fn commit(self) -> Result<(Header, State, SlotWriteGuard), CheckpointError> {
        let slot = self.open.slot;
        let guard = self.open.finish(&self.header, self.state.period())?;
        // What the other slot holds is no checkpoint of this state.
        if let Some(Content::Whole(other)) = guard.0.table.lock().contents.get_mut(index(slot.other())) {
            other.period = None;
        }
        Ok((self.header, self.state, guard))
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
