//! Reading entries: recent ones from memory, older ones from raft-log in small steps, so that a
//! writer never waits long.

use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::LogError;
use super::record::{Entry, WalLogId, WalPayload};
use super::store::LogStore;
use crate::caps;

/// How much one read may return. The first entry is always returned, however large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// At most so many entries.
    pub entries_max: usize,
    /// At most so many bytes of payload.
    pub bytes_max: usize,
}

impl ReadLimit {
    const NONE: Self = Self { entries_max: usize::MAX, bytes_max: usize::MAX };
}

impl LogStore {
    /// All entries in `range` that the log holds, in order. The caller bounds the range.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when an entry cannot be read back, [`LogError::Closed`].
    pub fn read(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry>, LogError> {
        self.read_bounded(range, ReadLimit::NONE)
    }

    /// The first entries in `range`, as many as `limit` allows.
    ///
    /// # Errors
    /// As [`LogStore::read`].
    pub fn read_bounded(
        &self,
        range: impl RangeBounds<u64>,
        limit: ReadLimit,
    ) -> Result<Vec<Entry>, LogError> {
        let (from, to) = indexes(&range);
        let mut read = Read::new(limit);
        let mut at = from.max(self.state().first_index());

        while !read.full {
            let older_upto = {
                let recent = self.inner.recent.lock();
                let to = to.min(recent.state.next_index());
                if at >= to {
                    break;
                }
                match recent.tail.first_index() {
                    Some(first) if first <= at => {
                        let upto = recent.tail.from(at).take_while(|entry| entry.id.index < to);
                        upto.for_each(|entry| read.push(entry));
                        break;
                    }
                    first => first.unwrap_or(to).min(to),
                }
            };
            match self.read_older(at..older_upto, &mut read)? {
                Some(next) => at = next,
                None => break,
            }
        }

        Ok(read.entries)
    }

    /// Reads one step of entries that are no longer in the tail. Says where the next step begins;
    /// `None` when the entries were purged or truncated meanwhile.
    fn read_older(&self, range: Range<u64>, read: &mut Read) -> Result<Option<u64>, LogError> {
        // While this is held nothing is appended, truncated or purged.
        let writer = self.inner.writer.read();
        let log = writer.as_ref().ok_or(LogError::Closed)?;
        let state = self.state();
        if !(state.first_index()..state.next_index()).contains(&range.start) {
            return Ok(None);
        }

        let (mut bytes, mut next) = (0, range.start);
        let step = catch_unwind(AssertUnwindSafe(|| -> io::Result<()> {
            for item in log.read(range.start, range.end).take(caps::LOG_READ_STEP_ENTRIES) {
                let (WalLogId(id), WalPayload(payload)) = item?;
                if id.index != next || bytes >= caps::LOG_READ_STEP_BYTES || read.full {
                    break;
                }
                (bytes, next) = (bytes + payload.len(), next.saturating_add(1));
                read.push(&Entry { id, payload });
            }
            Ok(())
        }));

        let at = range.start;
        match step {
            Ok(Ok(())) if next == at => Err(self.damaged(&format!("entry {at} is missing"))),
            Ok(Ok(())) => Ok(Some(next)),
            Ok(Err(error)) => Err(self.damaged(&format!("entries from {at} on: {error}"))),
            Err(_panic) => Err(self.damaged(&format!("entries from {at} on cannot be read"))),
        }
    }
}

/// Entries read so far, and whether the limit is reached.
struct Read {
    entries: Vec<Entry>,
    bytes: usize,
    limit: ReadLimit,
    full: bool,
}

impl Read {
    fn new(limit: ReadLimit) -> Self {
        Self { entries: Vec::new(), bytes: 0, full: limit.entries_max == 0, limit }
    }

    fn push(&mut self, entry: &Entry) {
        let bytes = self.bytes.saturating_add(entry.payload.len());
        if !self.entries.is_empty() && bytes > self.limit.bytes_max {
            self.full = true;
        }
        if self.full {
            return;
        }
        self.bytes = bytes;
        self.entries.push(entry.clone());
        self.full = self.entries.len() >= self.limit.entries_max;
    }
}

fn indexes(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}
