//! How long ended leases and changes of resources are remembered: so that a request that comes
//! again gets its answer again.

use crate::caps;
use crate::model::time::LogTime;
use crate::state::State;
use crate::state::defect::Defect;
use crate::state::indexes::Remembered;
use crate::state::records::RecordKey;

impl State {
    /// Forgets ended leases and changes, after an entry with so many events: those past their time,
    /// and the oldest when there are too many.
    pub(crate) fn forget_old(&mut self, now: LogTime, events: usize) -> Result<(), Defect> {
        let bounds_bytes = self.level().bounds_bytes();
        let more = if bounds_bytes {
            caps::FORGOTTEN_PER_ENTRY_MORE
        } else {
            caps::FORGOTTEN_PER_ENTRY_MAX
        };
        for _ in 0..more + events {
            let Some((at, oldest)) = self.oldest_remembered() else { return Ok(()) };
            let is_past = at.after_us(caps::REMEMBERED_US_MIN) <= now;
            let is_large =
                bounds_bytes && self.indexes.remembered_bytes > caps::REMEMBERED_BYTES_MAX;
            let remembered = self.indexes.ended.len() + self.records.remembered.len();
            if !is_past && !is_large && remembered <= caps::REMEMBERED_MAX {
                return Ok(());
            }

            if !is_past {
                if is_large && self.strip_oldest()? {
                    continue;
                }
                self.records
                    .changes
                    .edit(RecordKey::Meta, &mut self.records.meta)
                    .forgotten_early += 1;
            }
            match oldest {
                Remembered::Lease(seq) => {
                    self.indexes.ended.pop_first();
                    self.forget(seq)?;
                }
                Remembered::Change(id) => self.forget_change(id),
            }
        }
        Ok(())
    }

    /// What is remembered for longest, and since when.
    fn oldest_remembered(&self) -> Option<(LogTime, Remembered)> {
        let lease = self.indexes.ended.first();
        let change = self.records.remembered.first_key_value().map(|(id, change)| (change.at, *id));
        let is_lease_first = match (lease, change) {
            (Some(lease), Some(change)) => lease.0 <= change.0,
            (lease, _) => lease.is_some(),
        };
        if is_lease_first {
            lease.map(|(at, seq)| (at, Remembered::Lease(seq)))
        } else {
            change.map(|(at, id)| (at, Remembered::Change(id)))
        }
    }

    fn forget_change(&mut self, id: u64) {
        if let Some(change) = self.records.remembered.remove(&id) {
            let bytes = self.indexes.remembered_bytes.saturating_sub(caps::REMEMBERED_CHANGE_BYTES);
            self.indexes.remembered_bytes = bytes;
            let request_hash = self.indexes.requests.hash(change.request.as_str());
            self.indexes.requests.remove(request_hash, Remembered::Change(id).number());
            self.records.changes.remove(RecordKey::RememberedRequest(id), change);
        }
    }

    /// Takes its metadata from the oldest ended lease that has any; false when none has.
    fn strip_oldest(&mut self) -> Result<bool, Defect> {
        let leases = &self.records.leases;
        let has_metadata =
            |seq: u64| leases.get(seq).is_some_and(|lease| !lease.metadata.is_empty());
        let Some(seq) = self.indexes.ended.first_with(has_metadata) else { return Ok(false) };

        let Some(lease) = self.records.leases.get_mut(seq) else {
            return Err(Defect::new("an ended lease is gone that is listed"));
        };
        let bytes = self.indexes.remembered_bytes.saturating_sub(lease.metadata_bytes());
        self.indexes.remembered_bytes = bytes;
        self.records.changes.edit(RecordKey::Lease(seq), lease).metadata.clear();
        Ok(true)
    }
}
