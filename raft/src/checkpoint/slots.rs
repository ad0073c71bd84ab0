//! The two slots of a group's checkpoint, and the one owner of what is known about them.
//!
//! ```text
//!            newest                        spare
//!   slot 0: sequence 7, whole      slot 1: sequence 6, whole, or unknown
//!                                          ^ the next checkpoint, or a snapshot from the leader
//! ```
//!
//! A slot is whole or unknown. Whole, it holds exactly the checkpoint of its header, and mostly it
//! is known in which period of the state that was cut: then only what has changed since has to be
//! written ([`Extent::Since`]). Of anything else nothing is assumed: the slot is emptied, and
//! written in full. A slot becomes unknown when it is opened for writing and whole when its header
//! is on the disk, so whatever ends in between (an error, a panic, a snapshot that is not
//! installed) leaves an unknown slot behind, without anybody having to say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use ratequeue_limiter::{Extent, LEVEL_MAX, Period, Record, RecordKey, State};
use ratequeue_storage::caps::STATE_BYTES_FACTOR;
use ratequeue_storage::{
    GroupName, Header, RecordSink, Slot, SlotError, SlotWriter, StateError, StateStore,
    checkpoint_bytes,
};

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::table::{Checkpoint, Content, SlotTable, WholeSlot, index, stored_bytes};
use crate::format::membership;
use crate::format::record::{self, StateSink};
use crate::replica::Replica;

/// The slots of one group.
pub(crate) struct Slots {
    store: StateStore,
    group: GroupName,
    table: Mutex<SlotTable>,
    writing: AtomicBool,
    /// Other nodes have the state of every group of this one, so that the store, which they share,
    /// may be begun anew when it is damaged.
    is_replaceable: bool,
}

/// The right to write the spare slot: a checkpoint or a snapshot, one at a time.
pub(crate) struct SlotWriteGuard(Arc<Slots>);

impl Drop for SlotWriteGuard {
    fn drop(&mut self) {
        let Slots { store, group, .. } = &*self.0;
        debug_assert!(
            !store.is_written(group),
            "the right to write a slot is given back before its writer is gone"
        );
        self.0.writing.store(false, Ordering::SeqCst);
    }
}

/// Keeps a slot from being overwritten while it is read.
pub(crate) struct Pin(Arc<Slots>, Slot);

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(pins) = self.0.table().pins.get_mut(index(self.1)) {
            debug_assert!(*pins > 0, "a pin is given back twice");
            *pins = pins.saturating_sub(1);
        }
    }
}

/// The spare slot, while it is written. It is unknown until [`OpenSlot::finish`]. Fields are
/// dropped in this order: the right to write must be the last to go.
struct OpenSlot {
    writer: SlotWriter,
    slot: Slot,
    sequence: u64,
    /// How often the store had been begun anew when it was opened.
    replaced: u64,
    guard: SlotWriteGuard,
}

impl Slots {
    pub fn new(
        store: StateStore,
        group: GroupName,
        table: SlotTable,
        is_replaceable: bool,
    ) -> Arc<Self> {
        let (table, writing) = (Mutex::new(table), AtomicBool::new(false));
        Arc::new(Self { store, group, table, writing, is_replaceable })
    }

    /// What is known of the slots: nothing, when they were begun anew meanwhile, by this group or
    /// the other one.
    fn table(&self) -> MutexGuard<'_, SlotTable> {
        let mut table = self.table.lock();
        let replaced = self.store.replaced();
        if table.replaced != replaced {
            *table = SlotTable { replaced, pins: table.pins, ..SlotTable::default() };
        }
        table
    }

    /// Whether the slots were begun anew, and no checkpoint was made since.
    pub fn is_lost(&self) -> bool {
        self.store.replaced() > 0 && self.newest().is_none()
    }

    pub fn newest(&self) -> Option<Checkpoint> {
        self.table().newest().map(|(slot, whole)| whole.at(slot))
    }

    /// The checkpoint of this sequence, if it is still there.
    pub fn of_sequence(&self, sequence: u64) -> Option<Checkpoint> {
        let table = self.table();
        let found = table.wholes().find(|(_, whole)| whole.header.sequence == sequence);
        found.map(|(slot, whole)| whole.at(slot))
    }

    /// The log may be purged up to the last entry in there: a restart that finds the newest slot
    /// damaged begins with it.
    pub fn older(&self) -> Option<Header> {
        let table = self.table();
        table
            .newest()
            .and_then(|(slot, _)| table.whole(slot.other()))
            .map(|whole| whole.header.clone())
    }

    /// Bytes of records for which the reserve must have room: the next checkpoint writes some of
    /// them anew, and both slots have to hold what the state has grown by.
    pub fn lacking_bytes(&self, state: &State) -> u64 {
        let table = self.table();
        let grown = Slot::ALL.map(|slot| table.bytes_grown(slot, state));
        let written = Slot::ALL.map(|slot| table.bytes_to_write(slot, state));
        let grown = grown.into_iter().fold(0, u64::saturating_add);
        written.into_iter().fold(grown, u64::max)
    }

    /// Bytes of the checkpoint file that are unused, or will be when the slots that have to be
    /// written in full are emptied.
    pub fn unused_bytes(&self) -> u64 {
        let unused = self.store.unused_bytes();
        let table = self.table();
        let emptied = Slot::ALL.into_iter().filter(|slot| table.plan(*slot) == Extent::Full);
        let emptied = emptied.map(|slot| self.emptied_bytes(slot));
        emptied.fold(unused, u64::saturating_add)
    }

    /// Bytes of the file that become unused when this slot is emptied.
    fn emptied_bytes(&self, slot: Slot) -> u64 {
        let bytes = self.store.slot_bytes(&self.group, slot).unwrap_or_default();
        bytes.saturating_mul(STATE_BYTES_FACTOR)
    }

    /// Keeps `slot` as it is for as long as the result exists.
    pub fn pin(self: &Arc<Self>, slot: Slot) -> Pin {
        if let Some(pins) = self.table().pins.get_mut(index(slot)) {
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

    /// Opens the spare slot, to be written to this extent; without one, to that of the next
    /// checkpoint. `bytes` is the expected size of what is written.
    ///
    /// # Errors
    /// [`CheckpointError::NoSpace`] when the disk lacks room for so much: the log needs the rest.
    /// The slot is unchanged then.
    fn open(
        self: &Arc<Self>,
        extent: Option<Extent>,
        bytes: u64,
    ) -> Result<(OpenSlot, Extent), CheckpointError> {
        match self.try_open(extent, bytes) {
            Err(CheckpointError::State(StateError::Damaged { generation, detail }))
                if self.is_replaceable =>
            {
                self.store.move_aside(generation, &detail)?;
                self.try_open(extent, bytes)
            }
            opened => opened,
        }
    }

    fn try_open(
        self: &Arc<Self>,
        extent: Option<Extent>,
        bytes: u64,
    ) -> Result<(OpenSlot, Extent), CheckpointError> {
        if self.writing.swap(true, Ordering::SeqCst) {
            return Err(CheckpointError::Busy);
        }
        let guard = SlotWriteGuard(Arc::clone(self));
        let (free, unused) = (self.store.free_bytes(), self.store.unused_bytes());

        let (slot, sequence, extent, replaced) = {
            let mut table = self.table();
            let slot = table.spare();
            if table.is_pinned(slot) {
                return Err(CheckpointError::Busy);
            }

            let extent = extent.unwrap_or_else(|| table.plan(slot));
            let emptied = if extent == Extent::Full { self.emptied_bytes(slot) } else { 0 };
            let needed = checkpoint_bytes(bytes, unused.saturating_add(emptied));
            // If free space cannot be read, the write is attempted.
            if let Ok(free) = free
                && free < needed
            {
                return Err(CheckpointError::NoSpace { free, needed });
            }

            debug_assert!(
                table.newest().is_none_or(|(newest, _)| newest != slot),
                "the newest checkpoint is written over"
            );
            let sequence =
                table.newest().map_or(0, |(_, newest)| newest.header.sequence).saturating_add(1);
            table.set(slot, Content::Unknown);
            (slot, sequence, extent, table.replaced)
        };

        let writer = match extent {
            Extent::Full => self.store.begin_empty(&self.group, slot)?,
            Extent::Since(_) => self.store.begin(&self.group, slot)?,
        };
        Ok((OpenSlot { writer, slot, sequence, replaced, guard }, extent))
    }

    /// Writes a checkpoint of the state as it is now into the spare slot. Blocks, for as long as
    /// there are records to write, and locks the state for short steps only.
    ///
    /// # Errors
    /// [`CheckpointError::is_deferred`] tells whether the group can go on.
    pub fn checkpoint(
        self: &Arc<Self>,
        replica: &Replica,
        records_max: usize,
        stop: &AtomicBool,
    ) -> Result<Header, CheckpointError> {
        let bytes = {
            let (machine, table) = (replica.machine.read(), self.table());
            table.bytes_to_write(table.spare(), &machine.state)
        };
        let (slot, extent) = self.open(None, bytes)?;
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
        let (cut, bytes, applied, members) = {
            let mut machine = replica.machine.write();
            let cut = machine.state.freeze(extent)?;
            // What is applied from here on is not in it.
            replica.checkpoints.reset();
            (cut, stored_bytes(&machine.state), machine.applied, machine.membership.clone())
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
        let header = Header {
            applied,
            membership,
            records: cut.records,
            digest: cut.digest,
            sequence,
            received: false,
        };
        open.finish(&header, bytes, cut.period)?;
        Ok(header)
    }

    /// Opens the spare slot for a snapshot from elsewhere.
    pub fn receive(self: &Arc<Self>) -> Result<Incoming, CheckpointError> {
        let (open, _) = self.open(Some(Extent::Full), 0)?;
        Ok(Incoming { open, sink: StateSink::default(), records: 0 })
    }
}

impl OpenSlot {
    /// Makes the slot the newest checkpoint, durably. Gives the right to write back when the result
    /// is dropped.
    fn finish(
        self,
        header: &Header,
        bytes: u64,
        period: Period,
    ) -> Result<SlotWriteGuard, StateError> {
        debug_assert!(
            self.guard.0.table().whole(self.slot).is_none(),
            "a slot is written while it counts as whole"
        );
        self.writer.commit(header)?;
        let whole = WholeSlot { header: header.clone(), bytes, period: Some(period) };
        let mut table = self.guard.0.table();
        if table.replaced != self.replaced {
            // The other group has begun the store anew since: what was written is not there.
            return Err(StateError::Gone);
        }
        table.set(self.slot, Content::Whole(whole));
        drop(table);
        Ok(self.guard)
    }
}

/// A snapshot that is being written into the spare slot. Nothing counts before
/// [`Received::commit`]. Its methods block.
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
    /// Makes it the newest checkpoint, durably, and hands out its state. Blocks for a few fsyncs.
    /// The right to write is to be kept until the state is in use: a checkpoint of the old one
    /// would take the place of the new.
    pub fn commit(self) -> Result<(Header, State, SlotWriteGuard), CheckpointError> {
        let slot = self.open.slot;
        let guard =
            self.open.finish(&self.header, stored_bytes(&self.state), self.state.period())?;
        // What the other slot holds is no checkpoint of this state.
        if let Some(Content::Whole(other)) = guard.0.table().contents.get_mut(index(slot.other())) {
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
