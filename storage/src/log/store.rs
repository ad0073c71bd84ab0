//! [`LogStore`]: one group's log over raft-log.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::{Mutex, RwLock};
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;

use super::chunk::{self, NextChunk};
use super::durable::{Ack, Health, OnDurable};
use super::mark::Mark;
use super::record::{Entry, LogId, Vote, WalLogId, WalPayload, WalTypes, WalVote};
use super::state::{LogOptions, LogState};
use super::tail::Tail;
use super::{LogError, open};
use crate::{caps, keys};

/// One group's log. A cheap handle: clones share the log. The module's text says what holds.
#[derive(Clone)]
pub struct LogStore {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    dir: PathBuf,
    created: bool,
    health: Arc<Health>,
    next_chunk: NextChunk,
    /// Taken for writing by every change, which makes them one ordered stream, and shared by
    /// readers of old entries.
    pub(super) writer: RwLock<Option<RaftLog<WalTypes>>>,
    /// What readers of recent entries need. Taken after `writer` where both are, and never held
    /// over I/O.
    pub(super) recent: Mutex<Recent>,
    /// One mark at a time.
    mark: Mutex<()>,
}

pub(super) struct Recent {
    pub(super) tail: Tail,
    pub(super) state: LogState,
}

impl LogStore {
    /// Opens the log in `dir`, makes it if it is missing, and syncs what it found.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Locked`], [`LogError::Io`], or [`LogError::Failed`] when
    /// the sync failed.
    pub fn open(dir: impl AsRef<Path>, options: LogOptions) -> Result<(Self, LogState), LogError> {
        let dir = dir.as_ref().to_path_buf();
        let (log, created) = open::open(&dir, &options)?;
        let state = LogState::of(&log, created);

        let store = Self {
            inner: Arc::new(Inner {
                dir,
                created,
                health: Arc::default(),
                next_chunk: NextChunk::default(),
                writer: RwLock::new(Some(log)),
                recent: Mutex::new(Recent {
                    tail: Tail::new(options.tail_bytes_max, options.tail_entries_max),
                    state,
                }),
                mark: Mutex::new(()),
            }),
        };

        // After a crash of the process alone, records may be readable that never reached the disk.
        store.sync()?;
        Ok((store, state))
    }

    /// What the log holds now, durable or not yet.
    pub fn state(&self) -> LogState {
        self.inner.recent.lock().state
    }

    /// Appends entries that follow the last one. They can be read when this returns; `on_durable`
    /// is called, once, when they are durable or have failed, also when this returns an error.
    /// With no entries it waits for all before.
    ///
    /// # Errors
    /// [`LogError::Refused`] (gap, index used, too large; nothing was appended),
    /// [`LogError::Failed`], [`LogError::Closed`].
    pub fn append(&self, entries: Vec<Entry>, on_durable: OnDurable) -> Result<(), LogError> {
        let ack = Ack::new(&self.inner.health, Some(on_durable));
        self.change(ack, Flush::Sync, |store, log| {
            store.check_append(&entries)?;
            for entry in &entries {
                let record = (WalLogId(entry.id), WalPayload(entry.payload.clone()));
                // All was checked, so a refusal here would leave half of it: not something to go on
                // with.
                store.add(log, |log| log.append([record])).map_err(|error| store.fatal(error))?;
            }
            Ok(Effect::Appended(entries))
        })
    }

    /// Saves the vote and returns when it is durable.
    ///
    /// # Errors
    /// [`LogError::Refused`] when its term is older than the saved one, [`LogError::Failed`],
    /// [`LogError::Closed`].
    pub fn save_vote(&self, vote: Vote) -> Result<(), LogError> {
        let (tx, rx) = sync_channel(1);
        let on_durable = Box::new(move |result| drop(tx.send(result)));
        self.save_vote_with(vote, on_durable)?;
        self.wait(&rx)
    }

    /// Saves the vote; `on_durable` is called, once, when it is durable or has failed, also when
    /// this returns an error.
    ///
    /// # Errors
    /// As [`LogStore::save_vote`].
    pub fn save_vote_with(&self, vote: Vote, on_durable: OnDurable) -> Result<(), LogError> {
        let ack = Ack::new(&self.inner.health, Some(on_durable));
        self.change(ack, Flush::Sync, |store, log| {
            let saved = store.inner.recent.lock().state.vote;
            if saved.is_some_and(|saved| vote.term < saved.term) {
                return refused(format!("vote {vote:?} is older than {saved:?}"));
            }
            store.add(log, |log| log.save_vote(WalVote(vote)))?;
            Ok(Effect::Changed)
        })
    }

    /// Remembers how far the log is committed. It is written with whatever comes next, since a
    /// restart can do without; ignored when it is not news or lies beyond the last entry.
    ///
    /// # Errors
    /// [`LogError::Failed`], [`LogError::Closed`].
    pub fn save_committed(&self, id: LogId) -> Result<(), LogError> {
        let ack = Ack::new(&self.inner.health, None);
        self.change(ack, Flush::Later, |store, log| {
            let state = store.inner.recent.lock().state;
            if state.committed < Some(id) && Some(id) <= state.last {
                store.add(log, |log| log.commit(WalLogId(id)))?;
            }
            Ok(Effect::Changed)
        })
    }

    /// Removes all entries after `keep`; all that are left when it is `None`. Durable with the next
    /// append at the latest, and in order with it: until then a crash may bring the entries
    /// back, as if this had not been called.
    ///
    /// # Errors
    /// [`LogError::Refused`] when committed or purged entries would go, [`LogError::Failed`],
    /// [`LogError::Closed`].
    pub fn truncate_after(&self, keep: Option<u64>) -> Result<(), LogError> {
        let ack = Ack::new(&self.inner.health, None);
        self.change(ack, Flush::Write, |store, log| {
            let state = store.inner.recent.lock().state;
            let next = keep.map_or(state.first_index(), |index| index.saturating_add(1));
            if next >= state.next_index() {
                return Ok(Effect::Changed);
            }
            if next < state.first_index() || state.committed.is_some_and(|id| id.index >= next) {
                return refused(format!("truncate after {keep:?} would remove committed entries"));
            }
            store.add(log, |log| log.truncate(next))?;
            Ok(Effect::Changed)
        })
    }

    /// Removes all entries up to and with `upto`, which may lie beyond the last one (a snapshot
    /// took their place): the log then goes on after it. Chunk files that hold nothing else are
    /// removed once this is durable; it is not waited for. Without file descriptors nothing is
    /// purged, and a later purge does it.
    ///
    /// # Errors
    /// [`LogError::Refused`] when `upto` contradicts the log, [`LogError::Failed`],
    /// [`LogError::Closed`].
    pub fn purge(&self, upto: LogId) -> Result<(), LogError> {
        let ack = Ack::new(&self.inner.health, None);
        self.change(ack, Flush::Sync, |store, log| {
            let last = store.inner.recent.lock().state.last;
            if last.is_some_and(|last| upto.index > last.index && upto < last) {
                return refused(format!(
                    "purge up to {upto}, which is older than the last entry {last:?}"
                ));
            }
            let goes_on_after = last.is_none_or(|last| last < upto);
            if chunk::can_remove(&store.inner.dir.join(keys::DIR_WAL), goes_on_after) {
                store.add(log, |log| log.purge(WalLogId(upto)))?;
            }
            Ok(Effect::Changed)
        })
    }

    /// Returns when everything so far is durable.
    ///
    /// # Errors
    /// [`LogError::Failed`], [`LogError::Closed`].
    pub fn sync(&self) -> Result<(), LogError> {
        let (tx, rx) = sync_channel(1);
        self.append(Vec::new(), Box::new(move |result| drop(tx.send(result))))?;
        self.wait(&rx)
    }

    /// Notes durably, beside the log, what it must at least hold from now on: its committed entries
    /// and its term. Opening compares, so that a log that lost its end (which looks like a
    /// clean, shorter log) is seen as damaged. To be called with every checkpoint;
    /// [`LogStore::close`] does it too. Blocks for a few fsyncs.
    ///
    /// # Errors
    /// [`LogError::Failed`], [`LogError::Closed`], [`LogError::Io`].
    pub fn write_mark(&self) -> Result<(), LogError> {
        let _one_at_a_time = self.inner.mark.lock();
        let state = self.state();
        self.sync()?;
        Mark::of(&state).write(&self.inner.dir)
    }

    /// Bytes of the log on disk.
    pub fn disk_bytes(&self) -> u64 {
        let writer = self.inner.writer.read();
        writer.as_ref().map_or(0, RaftLog::on_disk_size)
    }

    /// Makes all durable, writes the mark and closes the files. Later calls of any handle fail with
    /// [`LogError::Closed`]. Closing twice is fine.
    ///
    /// # Errors
    /// What [`LogStore::write_mark`] says; the files are closed all the same.
    pub fn close(&self) -> Result<(), LogError> {
        let marked = match self.write_mark() {
            Err(LogError::Closed) => Ok(()),
            other => other,
        };
        // Dropped outside of the lock: it waits for the flush thread, whose callbacks may take a
        // while.
        let log = self.inner.writer.write().take();
        self.inner.release(log);
        marked
    }

    /// One change: `write` hands records to raft-log, then they are flushed.
    fn change(
        &self,
        ack: Ack,
        flush: Flush,
        write: impl FnOnce(&Self, &mut RaftLog<WalTypes>) -> Result<Effect, LogError>,
    ) -> Result<(), LogError> {
        let mut writer = self.inner.writer.write();
        let checked = self.inner.health.check();
        let log = checked.and_then(|()| writer.as_mut().ok_or(LogError::Closed));
        let written = log.and_then(|log| write(self, log).map(|effect| (log, effect)));

        let (log, effect) = match written {
            Ok(written) => written,
            Err(error) => {
                drop(writer);
                ack.refuse(&error);
                return Err(error);
            }
        };

        self.remember(log, effect);
        let sync = match flush {
            Flush::Sync => true,
            Flush::Write => false,
            Flush::Later => {
                ack.unneeded();
                return Ok(());
            }
        };

        self.guard(|| log.flush(sync, Some(ack))).map_err(|error| self.fatal(error))
    }

    fn remember(&self, log: &RaftLog<WalTypes>, effect: Effect) {
        let mut recent = self.inner.recent.lock();
        recent.state = LogState::of(log, self.inner.created);
        match effect {
            Effect::Appended(entries) => {
                entries.into_iter().for_each(|entry| recent.tail.push(entry))
            }
            Effect::Changed => {
                let state = recent.state;
                match state.last {
                    Some(last) => recent.tail.keep_upto(last.index),
                    None => recent.tail.clear(),
                }
                if let Some(purged) = state.purged {
                    recent.tail.drop_upto(purged.index);
                }
            }
        }
    }

    fn check_append(&self, entries: &[Entry]) -> Result<(), LogError> {
        if entries.len() > caps::LOG_APPEND_ENTRIES_MAX {
            return refused(format!("{} entries in one append", entries.len()));
        }
        let mut last = self.inner.recent.lock().state.last;
        for Entry { id, payload } in entries {
            if last.is_some_and(|last| *id <= last || last.index.checked_add(1) != Some(id.index)) {
                return refused(format!("entry {id} does not follow {last:?}"));
            }
            if payload.len() > ratequeue_codec::caps::LOG_PAYLOAD_BYTES_MAX {
                return refused(format!("entry {id} has {} bytes", payload.len()));
            }
            last = Some(*id);
        }
        Ok(())
    }

    /// Adds one record, as [`NextChunk::add`] does.
    fn add<T>(
        &self,
        log: &mut RaftLog<WalTypes>,
        add: impl FnOnce(&mut RaftLog<WalTypes>) -> io::Result<T>,
    ) -> Result<(), LogError> {
        self.guard(|| self.inner.next_chunk.add(log, add))
    }

    /// Runs a call of raft-log. What it refuses has changed nothing; any other error is the end of
    /// this log.
    fn guard<T>(&self, call: impl FnOnce() -> io::Result<T>) -> Result<T, LogError> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(LogError::Refused(error.to_string()))
            }
            Ok(Err(error)) => Err(self.fail(error.kind(), &error.to_string())),
            Err(_panic) => Err(self.fail(io::ErrorKind::Other, "the log library panicked")),
        }
    }

    fn fatal(&self, error: LogError) -> LogError {
        if let LogError::Refused(detail) = error {
            self.fail(io::ErrorKind::InvalidInput, &detail)
        } else {
            error
        }
    }

    fn fail(&self, kind: io::ErrorKind, detail: &str) -> LogError {
        self.inner.health.fail(kind, detail);
        LogError::Failed { kind, detail: detail.to_string() }
    }

    fn wait(&self, rx: &std::sync::mpsc::Receiver<io::Result<()>>) -> Result<(), LogError> {
        match rx.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fail(error.kind(), &error.to_string())),
            Err(_gone) => Err(self.fail(io::ErrorKind::BrokenPipe, "no answer from the log")),
        }
    }

    pub(super) fn damaged(&self, detail: &str) -> LogError {
        LogError::Damaged { path: self.inner.dir.clone(), detail: detail.to_string() }
    }
}

impl Inner {
    /// Closes the files. Those of a failed log are left to the end of the process, which has to
    /// come anyway: closing would flush once more, and can wait for ever for a flush thread
    /// that has died.
    fn release(&self, log: Option<RaftLog<WalTypes>>) {
        if self.health.check().is_err() {
            std::mem::forget(log);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let log = self.writer.get_mut().take();
        self.release(log);
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore")
            .field("dir", &self.inner.dir)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// When the records of a change are written.
enum Flush {
    /// Now, with an fsync.
    Sync,
    /// Now, without one.
    Write,
    /// With the next change that is.
    Later,
}

/// What a change did to the entries.
enum Effect {
    Appended(Vec<Entry>),
    Changed,
}

fn refused<T>(detail: String) -> Result<T, LogError> {
    Err(LogError::Refused(detail))
}
