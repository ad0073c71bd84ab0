//! What is known about the two slots.

use ratequeue_codec::ENVELOPE_BYTES;
use ratequeue_limiter::{Extent, Period, State};
use ratequeue_storage::{Header, Slot, keys};

/// A whole slot.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub slot: Slot,
    pub header: Header,
}

/// What a slot holds.
#[derive(Debug, Clone, Default)]
pub(super) enum Content {
    /// Nothing to be relied on.
    #[default]
    Unknown,
    Whole(WholeSlot),
}

/// A checkpoint that is on the disk.
#[derive(Debug, Clone)]
pub(super) struct WholeSlot {
    pub header: Header,
    /// What its records take, as [`stored_bytes`] of the state that it was cut from.
    pub bytes: u64,
    /// The period that began when it was cut; `None` when it is no checkpoint of the state that is
    /// in use.
    pub period: Option<Period>,
}

impl WholeSlot {
    pub fn at(&self, slot: Slot) -> Checkpoint {
        Checkpoint { slot, header: self.header.clone() }
    }
}

/// Bytes that the records of a state take in a slot, with keys and envelopes.
pub(super) fn stored_bytes(state: &State) -> u64 {
    let around = u64::try_from(ENVELOPE_BYTES + keys::RECORD_KEY_BYTES).unwrap_or(u64::MAX);
    state.bytes().saturating_add(state.records().saturating_mul(around))
}

/// What is known about the slots.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    pub(super) contents: [Content; 2],
    /// How many read them.
    pub(super) pins: [u32; 2],
    /// How often the store had been begun anew when this was known.
    pub(super) replaced: u64,
}

pub(super) fn index(slot: Slot) -> usize {
    match slot {
        Slot::Zero => 0,
        Slot::One => 1,
    }
}

impl SlotTable {
    /// What a start knows: from which slot the state was loaded, if from any.
    pub fn loaded(newest: Option<Checkpoint>, state: &State) -> Self {
        let mut table = Self::default();
        if let Some(Checkpoint { slot, header }) = newest {
            let (bytes, period) = (stored_bytes(state), Some(state.period()));
            table.set(slot, Content::Whole(WholeSlot { header, bytes, period }));
        }
        table
    }

    pub(super) fn whole(&self, slot: Slot) -> Option<&WholeSlot> {
        match self.contents.get(index(slot)) {
            Some(Content::Whole(whole)) => Some(whole),
            Some(Content::Unknown) | None => None,
        }
    }

    pub(super) fn set(&mut self, slot: Slot, content: Content) {
        if let Some(place) = self.contents.get_mut(index(slot)) {
            *place = content;
        }
    }

    pub(super) fn wholes(&self) -> impl Iterator<Item = (Slot, &WholeSlot)> {
        Slot::ALL.into_iter().filter_map(|slot| Some((slot, self.whole(slot)?)))
    }

    /// What a restart would begin with.
    pub(super) fn newest(&self) -> Option<(Slot, &WholeSlot)> {
        self.wholes().max_by_key(|(_, whole)| whole.header.sequence)
    }

    /// Where the next checkpoint goes.
    pub(super) fn spare(&self) -> Slot {
        self.newest().map_or(Slot::Zero, |(slot, _)| slot.other())
    }

    /// What a checkpoint into this slot would have to contain now.
    pub(super) fn plan(&self, slot: Slot) -> Extent {
        let period = self.whole(slot).and_then(|whole| whole.period);
        period.map_or(Extent::Full, Extent::Since)
    }

    /// Bytes of records that a checkpoint of this state into this slot would write, about: each
    /// change of a record writes it anew, and the slot has to hold what the state has grown by.
    pub(super) fn bytes_to_write(&self, slot: Slot, state: &State) -> u64 {
        let size = stored_bytes(state);
        let changed = match self.plan(slot) {
            Extent::Full => return size,
            Extent::Since(period) => state.changed_since(period).unwrap_or(u64::MAX),
        };

        let average = size / state.records().max(1);
        changed.saturating_mul(average).min(size).max(self.bytes_grown(slot, state))
    }

    /// Bytes by which the state has outgrown this slot.
    pub(super) fn bytes_grown(&self, slot: Slot, state: &State) -> u64 {
        let whole = self.whole(slot).filter(|whole| whole.period.is_some());
        stored_bytes(state).saturating_sub(whole.map_or(0, |whole| whole.bytes))
    }

    pub(super) fn is_pinned(&self, slot: Slot) -> bool {
        self.pins.get(index(slot)).is_some_and(|pins| *pins > 0)
    }
}
