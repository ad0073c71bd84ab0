//! The journal: what the last entries of the log did, in its order, for whoever watches the group.
//!
//! ```text
//!   apply ──> record ──> [ batch ... batch ]  ──> after(index): a reader's place is a log index
//!                          ^ the oldest go first
//! ```
//! It is filled from the log at every start, as far as the log is applied again. A reader keeps
//! nothing here, so a slow one costs nothing: it finds a gap when it comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use ratequeue_limiter::Event;
use tokio::sync::watch;

use crate::caps;
use crate::node::NodeId;
use crate::replica::Replica;

/// What one applied entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The entry's log index.
    pub index: u64,
    /// About when it was made. It never falls from one batch to the next.
    pub at: Instant,
    /// How this node came to know of it.
    pub witness: Witness,
    /// What happened.
    pub what: Happening,
}

/// How a node came to know of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// It led the group when it applied the entry.
    Leader,
    /// Another node led.
    Follower,
    /// The entry was in its log when it started.
    Replay,
}

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Its commands, in order; at least one event.
    Events(Vec<Event>),
    /// A new leader began.
    NewLeader {
        /// Which node.
        leader: NodeId,
        /// Its term.
        term: u64,
    },
}

impl EventBatch {
    /// Events in it: at least one, since what did nothing is not recorded.
    fn events(&self) -> usize {
        match &self.what {
            Happening::Events(events) => events.len(),
            Happening::NewLeader { .. } => 1,
        }
    }
}

/// The entries before this one are not in the journal any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal begins at the log index {first_index}")]
pub struct JournalGap {
    /// The first index of which everything is there.
    pub first_index: u64,
}

/// Reads a group's journal from a place on.
#[derive(Debug)]
pub struct EventReader {
    replica: Weak<Replica>,
    newest: watch::Receiver<u64>,
    /// Everything up to this index has been read.
    after: u64,
}

/// Why a reader has no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// What comes next is not in the journal any more. The reader goes on at what is there.
    #[error(transparent)]
    Gap(#[from] JournalGap),
    /// The group has ended.
    #[error("the group has ended")]
    Ended,
}

impl EventReader {
    /// A reader of what comes after a log index.
    pub(crate) fn new(replica: &Arc<Replica>, after: u64) -> Self {
        Self { replica: Arc::downgrade(replica), newest: replica.journal.newest.subscribe(), after }
    }

    /// The log index up to which everything has been read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The batches that follow, oldest first: as many as have about `max` events, at least one.
    /// Waits until there is one. Nothing is lost when it is dropped while it waits.
    ///
    /// # Errors
    /// [`EventsError::Gap`] once for each gap; [`EventsError::Ended`].
    pub async fn next(&mut self, max: usize) -> Result<Vec<Arc<EventBatch>>, EventsError> {
        loop {
            // Seen before the journal is read: what is recorded meanwhile wakes it.
            self.newest.borrow_and_update();
            let read = {
                let replica = self.replica.upgrade().ok_or(EventsError::Ended)?;
                replica.journal.after(self.after, max)
            };

            match read {
                Ok(batches) => {
                    if let Some(last) = batches.last() {
                        self.after = last.index;
                        return Ok(batches);
                    }
                }
                Err(gap) => {
                    self.after = gap.first_index - 1;
                    return Err(gap.into());
                }
            }
            self.newest.changed().await.map_err(|_dropped| EventsError::Ended)?;
        }
    }
}

/// The last batches of events.
#[derive(Debug)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    /// The index of the newest batch, for those who wait for the next one.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    batches: VecDeque<Arc<EventBatch>>,
    /// Events in `batches`.
    events: usize,
    /// Everything after this index is there.
    after: u64,
    /// What was in the log when the node started, up to this index.
    replayed_to: u64,
    /// When the newest entry was made.
    at: Option<Instant>,
}

impl Journal {
    /// A journal of what is applied after `applied`; what the log has up to `replayed_to` was
    /// there when the node started.
    pub fn new(applied: u64, replayed_to: u64) -> Self {
        let batches = VecDeque::new();
        let kept = Kept { batches, events: 0, after: applied, replayed_to, at: None };
        Self { kept: Mutex::new(kept), newest: watch::Sender::new(applied) }
    }

    /// Takes in what an entry did.
    pub fn record(&self, index: u64, at: Instant, leads: bool, what: Happening) {
        let mut kept = self.kept.lock();
        let witness = match (index <= kept.replayed_to, leads) {
            (true, _) => Witness::Replay,
            (false, true) => Witness::Leader,
            (false, false) => Witness::Follower,
        };
        let at = kept.at.map_or(at, |newest| newest.max(at));
        kept.at = Some(at);
        let batch = EventBatch { index, at, witness, what };
        kept.events += batch.events();
        kept.batches.push_back(Arc::new(batch));

        while kept.events > caps::JOURNAL_EVENTS_MAX && kept.batches.len() > 1 {
            let Some(oldest) = kept.batches.pop_front() else { break };
            kept.events -= oldest.events();
            kept.after = oldest.index;
        }
        drop(kept);
        self.newest.send_replace(index);
    }

    /// The state was replaced by one that has everything up to this index.
    pub fn restart(&self, applied: u64) {
        let mut kept = self.kept.lock();
        kept.batches.clear();
        kept.events = 0;
        kept.after = applied;
        drop(kept);
        self.newest.send_replace(applied);
    }

    /// The batches after a log index, oldest first: as many as have about `max` events, and at
    /// least one if there is any. O(log n) and what it gives.
    pub fn after(&self, index: u64, max: usize) -> Result<Vec<Arc<EventBatch>>, JournalGap> {
        let kept = self.kept.lock();
        if index < kept.after {
            return Err(JournalGap { first_index: kept.after + 1 });
        }
        let from = kept.batches.partition_point(|batch| batch.index <= index);
        let mut events = 0;
        let fits = |batch: &&Arc<EventBatch>| {
            let is_first = events == 0;
            events += batch.events();
            is_first || events <= max
        };
        Ok(kept.batches.range(from..).take_while(fits).map(Arc::clone).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratequeue_limiter::{EventKind, ResourceName};

    use super::*;

    fn events(count: usize) -> Happening {
        let resource = ResourceName::new("a").unwrap();
        let event = Event { resource, standing: None, kind: EventKind::Deleted };
        Happening::Events(vec![event; count])
    }

    fn indexes(journal: &Journal, after: u64, max: usize) -> Result<Vec<u64>, JournalGap> {
        let batches = journal.after(after, max)?;
        Ok(batches.iter().map(|batch| batch.index).collect())
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let journal = Journal::new(10, 11);
        for index in [11, 14, 15, 20] {
            journal.record(index, Instant::now(), index == 20, events(2));
        }
        assert_eq!(indexes(&journal, 10, 4), Ok(vec![11, 14]));
        assert_eq!(indexes(&journal, 14, 1), Ok(vec![15]), "one, however many events it has");
        assert_eq!(indexes(&journal, 19, 100), Ok(vec![20]));
        assert_eq!(indexes(&journal, 20, 100), Ok(vec![]));
        assert_eq!(indexes(&journal, 99, 100), Ok(vec![]));
        assert_eq!(indexes(&journal, 9, 100), Err(JournalGap { first_index: 11 }));
        assert_eq!(*journal.newest.borrow(), 20);

        let witnesses: Vec<_> =
            journal.after(10, 100).unwrap().iter().map(|batch| batch.witness).collect();
        let Witness::Replay = witnesses[0] else { panic!("{witnesses:?}") };
        assert_eq!(witnesses[2..], [Witness::Follower, Witness::Leader]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let journal = Journal::new(0, 0);
        let per_batch = caps::JOURNAL_EVENTS_MAX / 4;
        (1..=9).for_each(|index| journal.record(index, Instant::now(), true, events(per_batch)));
        assert_eq!(indexes(&journal, 5, usize::MAX), Ok(vec![6, 7, 8, 9]));
        assert_eq!(indexes(&journal, 4, usize::MAX), Err(JournalGap { first_index: 6 }));

        journal.record(10, Instant::now(), true, events(caps::JOURNAL_EVENTS_MAX * 2));
        assert_eq!(indexes(&journal, 9, 1), Ok(vec![10]), "the newest is always there");
        assert_eq!(indexes(&journal, 8, 1), Err(JournalGap { first_index: 10 }));
    }

    #[test]
    fn a_snapshot_leaves_a_gap_and_time_does_not_fall() {
        let journal = Journal::new(0, 0);
        let earlier = Instant::now();
        let later = earlier + Duration::from_secs(1);
        journal.record(1, later, false, events(1));
        journal.record(2, earlier, false, events(1));
        assert_eq!(journal.after(1, 1).unwrap()[0].at, later);
        journal.restart(50);
        assert_eq!(indexes(&journal, 1, 1), Err(JournalGap { first_index: 51 }));
        assert_eq!(indexes(&journal, 50, 1), Ok(vec![]));
        journal.record(51, earlier, false, Happening::NewLeader { leader: 3, term: 7 });
        assert_eq!(indexes(&journal, 50, 1), Ok(vec![51]));
    }
}
