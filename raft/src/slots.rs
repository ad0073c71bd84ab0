//! The two slots of a group's checkpoint: which is the newest, and what may be written where.
//!
//! ```text
//!            newest                        spare
//!   slot 0: sequence 7, whole      slot 1: sequence 6, whole or not
//!                                          ^ the next checkpoint, or a snapshot from the leader
//! ```
//!
//! The state hands out what changed since the checkpoint before the last, so a slot may be written on top of what it holds
//! only if it holds just that. After a start, after a snapshot, and after a failure it may not: it is wiped first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use ratequeue_limiter::{Record, RecordKey, State};
use ratequeue_storage::{
    CodecError, GroupName, Header, RecordSink, Slot, SlotError, SlotWriter, StateError, StateStore,
};

use crate::membership;
use crate::record::{self, StateSink};
use crate::replica::Replica;

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The group is being dropped.
    #[error("stopped")]
    Stopped,
    /// The slots are being written by somebody else.
    #[error("the slots are in use")]
    Busy,
    /// There is too little room to begin.
    #[error("only {0} bytes are free")]
    NoSpace(u64),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl CheckpointError {
    /// Whether nothing was begun, so that it can be tried again later.
    pub fn is_put_off(&self) -> bool {
        matches!(self, Self::Busy | Self::NoSpace(_))
    }
}

/// A whole slot.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub slot: Slot,
    pub header: Header,
}

/// What is known about the slots.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// What a restart would begin with.
    pub newest: Option<Checkpoint>,
    /// What the other slot holds, if it is whole. The log is kept from there on.
    pub older: Option<Header>,
    /// Slots that hold what the state thinks they hold, so that changes may be written on top.
    pub current: [bool; 2],
    /// How many read them.
    pub pins: [u32; 2],
}

/// The slots of one group.
pub(crate) struct Slots {
    store: StateStore,
    group: GroupName,
    book: Mutex<Book>,
    writing: AtomicBool,
}

/// The right to write the spare slot: a checkpoint or a snapshot, one at a time.
pub(crate) struct Writing(Arc<Slots>);

/// Keeps a slot from being overwritten while it is read.
pub(crate) struct Pin(Arc<Slots>, Slot);

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(pins) = self.0.book.lock().pins.get_mut(place(self.1)) {
            *pins = pins.saturating_sub(1);
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::SeqCst);
    }
}

fn place(slot: Slot) -> usize {
    match slot {
        Slot::Zero => 0,
        Slot::One => 1,
    }
}

impl Slots {
    pub fn new(store: StateStore, group: GroupName, book: Book) -> Arc<Self> {
        Arc::new(Self { store, group, book: Mutex::new(book), writing: AtomicBool::new(false) })
    }

    pub fn newest(&self) -> Option<Checkpoint> {
        self.book.lock().newest.clone()
    }

    /// The log may be purged up to the last entry in there.
    pub fn older(&self) -> Option<Header> {
        self.book.lock().older.clone()
    }

    /// Keeps `slot` as it is for as long as the result exists.
    pub fn pin(self: &Arc<Self>, slot: Slot) -> Pin {
        if let Some(pins) = self.book.lock().pins.get_mut(place(slot)) {
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

    /// Opens the spare slot for writing, on top of what it holds if that may be.
    fn begin(self: &Arc<Self>, wipe: bool) -> Result<(Writing, Slot, u64, SlotWriter), CheckpointError> {
        if self.writing.swap(true, Ordering::SeqCst) {
            return Err(CheckpointError::Busy);
        }
        let writing = Writing(Arc::clone(self));
        let (slot, sequence, current) = {
            let mut book = self.book.lock();
            let slot = book.newest.as_ref().map_or(Slot::Zero, |newest| newest.slot.other());
            if book.pins.get(place(slot)).is_some_and(|pins| *pins > 0) {
                return Err(CheckpointError::Busy);
            }
            let sequence = book.newest.as_ref().map_or(0, |newest| newest.header.sequence).saturating_add(1);
            // Until it is whole again, the log must be kept for the newest alone.
            book.older = None;
            let current = book.current.get_mut(place(slot)).is_some_and(std::mem::take);
            (slot, sequence, current)
        };
        if wipe || !current {
            self.store.wipe(&self.group, slot)?;
        }
        let writer = self.store.begin(&self.group, slot)?;
        Ok((writing, slot, sequence, writer))
    }

    /// Takes `slot` as the newest. `fresh`: the state counts its changes from anew, so the other slot is out of date.
    fn written(&self, slot: Slot, header: Header, fresh: bool) {
        let mut book = self.book.lock();
        book.older = book.newest.take().map(|newest| newest.header);
        book.newest = Some(Checkpoint { slot, header });
        for each in Slot::ALL {
            if let Some(current) = book.current.get_mut(place(each)) {
                *current = each == slot || (*current && !fresh);
            }
        }
    }

    /// Writes a checkpoint of the state as it is now into the spare slot. Blocks, for as long as there are changes to write,
    /// and locks the state for short steps only.
    ///
    /// After an error that does not say that it was put off, the changes that were handed out are lost: the group has to end.
    pub fn checkpoint(
        self: &Arc<Self>,
        replica: &Replica,
        records_max: usize,
        stop: &AtomicBool,
    ) -> Result<Header, CheckpointError> {
        let (_writing, slot, sequence, mut writer) = self.begin(false)?;
        let (cut, applied, members) = {
            let mut machine = replica.machine.write();
            let cut = machine.state.freeze().ok_or(CheckpointError::Busy)?;
            (cut, machine.applied, machine.membership.clone())
        };
        let membership = membership::encode_stored(&members)?;
        let mut changes: Vec<(RecordKey, Option<Record>)> = Vec::new();
        loop {
            let more = replica.machine.write().state.drain(records_max, &mut changes);
            for (key, record) in changes.drain(..) {
                let (kind, id) = record::stored_key(key);
                match record {
                    Some(record) => writer.put(kind, id, &record::encode(&record)?)?,
                    None => writer.delete(kind, id)?,
                }
            }
            if stop.load(Ordering::Relaxed) {
                return Err(CheckpointError::Stopped);
            }
            if !more {
                break;
            }
        }
        let header =
            Header { applied, membership, records: cut.records, digest: cut.digest, sequence, received: false };
        writer.commit(&header)?;
        self.written(slot, header.clone(), false);
        Ok(header)
    }

    /// Opens the spare slot for a snapshot from elsewhere.
    pub fn receive(self: &Arc<Self>) -> Result<Incoming, CheckpointError> {
        let (writing, slot, sequence, writer) = self.begin(true)?;
        Ok(Incoming { writing, slot, sequence, writer, sink: StateSink::default(), records: 0 })
    }
}

/// A snapshot that is being written into the spare slot. Nothing counts before [`Whole::commit`]. Its methods block.
pub(crate) struct Incoming {
    writing: Writing,
    slot: Slot,
    sequence: u64,
    writer: SlotWriter,
    sink: StateSink,
    records: u64,
}

impl Incoming {
    pub fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), CheckpointError> {
        self.sink.record(kind, id, value)?;
        self.writer.put(kind, id, value)?;
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// The digest of what came so far.
    pub fn digest(&mut self) -> u64 {
        self.sink.digest()
    }

    /// Compares what came with what was promised, and puts the state together.
    pub fn finish(mut self, promised: &Header) -> Result<Whole, CheckpointError> {
        let digest = self.sink.digest();
        if (self.records, digest) != (promised.records, promised.digest) {
            return Err(CheckpointError::Slot(SlotError::Mismatch {
                records: self.records,
                records_expected: promised.records,
                digest,
                digest_expected: promised.digest,
            }));
        }
        let header = Header { sequence: self.sequence, received: true, ..promised.clone() };
        let state = self.sink.finish()?;
        Ok(Whole { writing: self.writing, slot: self.slot, writer: self.writer, header, state })
    }
}

/// A snapshot that has come whole.
pub(crate) struct Whole {
    writing: Writing,
    slot: Slot,
    writer: SlotWriter,
    header: Header,
    state: State,
}

impl Whole {
    /// Makes it the newest checkpoint, durably, and hands out its state. Blocks for a few fsyncs. The right to write is to be
    /// kept until the state is in use: a checkpoint of the old one would take the place of the new.
    pub fn commit(self) -> Result<(Header, State, Writing), CheckpointError> {
        self.writer.commit(&self.header)?;
        self.writing.0.written(self.slot, self.header.clone(), true);
        Ok((self.header, self.state, self.writing))
    }
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole").field("slot", &self.slot).field("header", &self.header).finish_non_exhaustive()
    }
}
