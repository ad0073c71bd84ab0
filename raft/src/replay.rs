//! A group's log read again, entry by entry, on a node that does not run.

use std::collections::VecDeque;
use std::path::Path;

use openraft::EntryPayload;
use ratequeue_limiter::{Applied, State};
use ratequeue_storage::{GroupName, LogId, LogOptions, LogStore, ReadLimit, StateStore};

use crate::caps;
use crate::checkpoint::load;
use crate::error::OpenError;
use crate::format::{batch, entry};

/// A state and the entries after it, each of which is applied as it is read. It decides again what
/// the node decided: the log has commands, and from the same state the same commands come to the
/// same.
#[derive(Debug)]
pub struct Replay {
    log: LogStore,
    group: GroupName,
    state: State,
    /// The entry that is read next.
    next: u64,
    read: VecDeque<ratequeue_storage::Entry>,
}

/// An entry of commands, applied.
#[derive(Debug)]
pub struct Replayed {
    /// The entry.
    pub id: LogId,
    /// True when the node knew that a majority has it. It may be committed otherwise, too: a node
    /// learns that a moment later.
    pub is_committed: bool,
    /// What its commands came to.
    pub applied: Applied,
}

impl Replay {
    /// Opens the log of a group, and the newest checkpoint that it goes on from. What a start
    /// repairs is repaired: a torn last record is cut off. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] as when a node starts; [`OpenError::Damaged`] also when a start would ask
    /// other nodes for the state.
    pub fn open(log_dir: &Path, store: &StateStore, group: GroupName) -> Result<Self, OpenError> {
        let (log, _) = LogStore::open(log_dir, LogOptions::default())
            .map_err(|error| OpenError::of_log(group.as_str(), &error))?;
        let loaded = load::load(store, &group, &log)?.map_err(|missing| OpenError::Damaged {
            group: group.to_string(),
            detail: missing.detail,
        })?;

        let machine = loaded.machine;
        let next = machine.applied.map_or(0, |applied| applied.index.saturating_add(1));
        let next = next.max(log.state().first_index());
        Ok(Self { log, group, state: machine.state, next, read: VecDeque::new() })
    }

    /// The state before the next entry.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The index of the next entry.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Applies the next entry of commands; nothing after the last one. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when an entry cannot be read.
    pub fn step(&mut self) -> Result<Option<Replayed>, OpenError> {
        let committed = self.log.state().committed;
        while let Some(stored) = self.take()? {
            let id = stored.id;
            let raft = entry::to_raft(stored)
                .map_err(|error| OpenError::of_damage(&self.group, &error))?;
            let EntryPayload::Normal(data) = raft.payload else { continue };
            let batch = batch::decode(&data.bytes)
                .map_err(|error| OpenError::of_damage(&self.group, &error))?;

            let applied = self.state.apply(id.index, batch.stamp, batch.commands);
            let is_committed = committed.is_some_and(|committed| id <= committed);
            return Ok(Some(Replayed { id, is_committed, applied }));
        }
        Ok(None)
    }

    fn take(&mut self) -> Result<Option<ratequeue_storage::Entry>, OpenError> {
        if self.read.is_empty() {
            let limit = ReadLimit { entries_max: caps::READ_ENTRIES_MAX, bytes_max: usize::MAX };
            let read = self.log.read_bounded(self.next.., limit);
            self.read =
                read.map_err(|error| OpenError::of_log(self.group.as_str(), &error))?.into();
        }
        let entry = self.read.pop_front();
        if let Some(entry) = &entry {
            self.next = entry.id.index.saturating_add(1);
        }
        Ok(entry)
    }
}
