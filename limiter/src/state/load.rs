//! Puts a state together from its records.

use crate::state::State;
use crate::state::defect::Inconsistent;
use crate::state::indexes::Indexes;
use crate::state::records::{Record, RecordChanges, RecordKey, Records};

/// Puts a state together from its records. Indexes are made at the end, so the records may come in
/// any order.
#[derive(Debug)]
pub struct Loader {
    records: Records,
    seed: u64,
}

impl Default for Loader {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Loader {
    /// A loader of a state with this seed: see [`State::seeded`].
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { records: Records::unloaded(RecordChanges::default()), seed }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`Inconsistent`] when it does not belong to its key, or the key came before.
    pub fn record(&mut self, key: RecordKey, record: Record) -> Result<(), Inconsistent> {
        let twice = self.records.load(key, record)?;
        if twice { Err(Inconsistent(format!("the record of {key:?} came twice"))) } else { Ok(()) }
    }

    /// The digest of what came so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.records.changes.digest()
    }

    /// Derives all that is not a record.
    ///
    /// # Errors
    /// [`Inconsistent`] when one refers to another that did not come.
    pub fn finish(self) -> Result<State, Inconsistent> {
        let Self { mut records, seed } = self;
        if records.meta.is_absent() {
            return Err(Inconsistent("the meta record is missing".to_owned()));
        }

        let indexes = Indexes::of(&mut records, seed)?;
        let mut state = State { records, indexes, defects: 0 };
        state.reschedule_all();
        Ok(state)
    }
}

impl State {
    /// Puts a state together from its records, in any order.
    ///
    /// # Errors
    /// [`Inconsistent`] when a record does not belong to its key, appears twice, or refers to one
    /// that is missing.
    pub fn from_records(
        records: impl IntoIterator<Item = (RecordKey, Record)>,
    ) -> Result<Self, Inconsistent> {
        let mut loader = Loader::default();
        for (key, record) in records {
            loader.record(key, record)?;
        }
        loader.finish()
    }
}
