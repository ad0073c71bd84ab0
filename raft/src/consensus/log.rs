//! The log, as openraft wants it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use ratequeue_storage::{LogStore, ReadLimit, Vote};
use tokio::sync::oneshot;

use crate::caps;
use crate::format::entry::{to_raft, to_stored};
use crate::format::types::{LeaderId, RaftEntry, RaftLogId, RaftVote, Types, raft_id, stored_id};
use crate::replica::clock::LogClock;

/// One group's log. Clones share it.
#[derive(Clone)]
pub(crate) struct Log {
    store: LogStore,
    clock: Arc<LogClock>,
}

impl Log {
    pub fn new(store: LogStore, clock: Arc<LogClock>) -> Self {
        Self { store, clock }
    }

    fn read(
        &self,
        range: impl RangeBounds<u64>,
        limit: Option<ReadLimit>,
    ) -> io::Result<Vec<RaftEntry>> {
        let entries = match limit {
            Some(limit) => self.store.read_bounded(range, limit)?,
            None => self.store.read(range)?,
        };
        entries.into_iter().map(to_raft).collect()
    }
}

const READ_LIMIT: ReadLimit =
    ReadLimit { entries_max: caps::READ_ENTRIES_MAX, bytes_max: caps::READ_BYTES_MAX };

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(range, None)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(start..end, Some(READ_LIMIT))
    }

    /// In steps, so that a long catch-up is not held in memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let (start, end) = indexes(&range);
        futures::stream::unfold((start, Vec::new().into_iter()), move |(at, mut step)| {
            let log = log.clone();
            async move {
                if step.len() == 0 && at < end {
                    match log.read(at..end, Some(READ_LIMIT)) {
                        Ok(entries) => step = entries.into_iter(),
                        Err(error) => return Some((Err(error), (end, step))),
                    }
                }
                let entry: RaftEntry = step.next()?;
                let next = entry.log_id.index.saturating_add(1);
                Some((Ok(entry), (next, step)))
            }
        })
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.store.state().vote.map(to_raft_vote))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.store.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(raft_id),
            last_log_id: state.last.map(raft_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        let vote = Vote {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        };
        let (tx, rx) = oneshot::channel();
        self.store.save_vote_with(vote, Box::new(move |result| drop(tx.send(result))))?;
        rx.await.unwrap_or_else(|_gone| Err(io::Error::other("no answer from the log")))
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        let Some(id) = committed else { return Ok(()) };
        Ok(self.store.save_committed(stored_id(&id))?)
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.store.state().committed.map(raft_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut foreign = None;
        let mut stored = Vec::new();
        for entry in entries {
            if let EntryPayload::Normal(data) = &entry.payload
                && !data.own
            {
                foreign = Some(data.bytes.clone());
            }
            stored.push(to_stored(&entry)?);
        }

        // The callback runs on the log's own thread and only sends; it is told of refusals too.
        self.store.append(stored, Box::new(move |result| callback.io_completed(result)))?;
        if let Some(batch) = foreign {
            self.clock.appended(batch);
        }

        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> Result<(), io::Error> {
        Ok(self.store.truncate_after(last_log_id.map(|id| id.index))?)
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), io::Error> {
        Ok(self.store.purge(stored_id(&log_id))?)
    }
}

fn indexes(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn to_raft_vote(vote: Vote) -> RaftVote {
    RaftVote {
        leader_id: LeaderId { term: vote.term, node_id: vote.node },
        committed: vote.committed,
    }
}
