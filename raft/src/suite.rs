//! openraft's own storage suite over our stores, and failures that only the inside can cause.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftLogReader, StorageError};
use ratequeue_limiter::Command;
use ratequeue_storage::{GroupName, LogOptions, LogStore, StateOptions, StateStore};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::checkpoint::load;
use crate::checkpoint::slots::Slots;
use crate::checkpoint::thread::Checkpointer;
use crate::consensus::log::Log;
use crate::consensus::state_machine::Applier;
use crate::format::types::{RaftEntry, RaftLogId, RaftVote, Types};
use crate::group::Group;
use crate::group::options::GroupOptions;
use crate::health::Health;
use crate::replica::Replica;
use crate::replica::clock::{LogClock, SystemClock};
use crate::replica::growth::{CheckpointPolicy, CheckpointTrigger};
use crate::timing::Timing;
use crate::transport::NoTransport;
use crate::{Address, SubmitError};

/// The suite begins some of its logs at index 1, as no group ever does. A read from before that is
/// one from there.
#[derive(Clone)]
struct AnyStart {
    log: Log,
    first: Arc<AtomicU64>,
}

impl AnyStart {
    fn clamp(&self, range: &impl RangeBounds<u64>) -> (Bound<u64>, Bound<u64>) {
        let first = self.first.load(Ordering::SeqCst);
        let start = match range.start_bound() {
            Bound::Included(start) => first.max(*start),
            Bound::Excluded(before) => first.max(before + 1),
            Bound::Unbounded => first,
        };
        (Bound::Included(start), range.end_bound().cloned())
    }
}

impl RaftLogReader<Types> for AnyStart {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.log.try_get_log_entries(self.clamp(&range)).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = self.clamp(&range);
        self.log.entries_stream(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.log.limited_get_log_entries(start, end).await
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        self.log.read_vote().await
    }
}

impl RaftLogStorage<Types> for AnyStart {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        self.log.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        self.log.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        self.log.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        if self.log.get_log_state().await?.last_log_id.is_none()
            && let Some(first) = entries.first()
        {
            self.first.store(first.log_id.index, Ordering::SeqCst);
        }
        self.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<RaftLogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), io::Error> {
        self.log.purge(log_id).await
    }
}

struct Builder;

fn state_options() -> StateOptions {
    StateOptions { pause: Duration::ZERO, cache_bytes: 4 * 1024 * 1024, ..StateOptions::default() }
}

impl StoreBuilder<Types, AnyStart, Applier, (Checkpointer, TempDir)> for Builder {
    async fn build(
        &self,
    ) -> Result<((Checkpointer, TempDir), AnyStart, Applier), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = StateStore::open(dir.path().join("state"), state_options()).unwrap();
        let (log, _) = LogStore::open(dir.path().join("log"), LogOptions::default()).unwrap();
        let group = GroupName::new("suite").unwrap();
        let Ok(loaded) = load::load(&store, &group, &log).unwrap() else {
            panic!("the state is missing")
        };

        let slots = Slots::new(store, group, loaded.slots, false);
        let (checkpoints, requests) = CheckpointTrigger::new(CheckpointPolicy::default());
        let clock = Arc::new(LogClock::new(Arc::new(SystemClock::default()), loaded.time));
        let replica =
            Arc::new(Replica::new("suite".to_owned(), 0, loaded.machine, clock, checkpoints, 0));

        let (done, _) = watch::channel(None);
        let health = watch::Sender::new(Health::Running);
        let checkpointer = Checkpointer::start(
            Arc::clone(&replica),
            requests,
            Arc::clone(&slots),
            log.clone(),
            done,
            health,
        )
        .unwrap();

        let applier = Applier::new(
            Arc::clone(&replica),
            slots,
            log.clone(),
            watch::Sender::new(Health::Running),
        );

        let log =
            AnyStart { log: Log::new(log, Arc::clone(&replica.clock)), first: Arc::default() };
        Ok(((checkpointer, dir), log, applier))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_the_group_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = StateStore::open(dir.path().join("state"), state_options()).unwrap();
    let options = GroupOptions {
        name: "test".to_owned(),
        node: 1,
        log_dir: dir.path().join("log"),
        store,
        timing: Timing::default(),
        checkpoint: CheckpointPolicy::default(),
        transport: Arc::new(NoTransport),
        others: Vec::new(),
        is_store_replaceable: false,
    };

    let group = Group::open(options).await.unwrap();
    group.form(BTreeMap::from([(1, Address::default())])).await.unwrap();
    while group.submit_local(Command::Tick).await.is_err() {
        tokio::task::yield_now().await;
    }

    group.close_log();
    assert_eq!(group.submit_local(Command::Tick).await, Err(SubmitError::UnknownOutcome));
    let mut health = group.health();
    let failed = health.wait_for(|health| matches!(health, Health::Failed(_)));
    assert!(tokio::time::timeout(Duration::from_secs(10), failed).await.is_ok());
    assert_eq!(group.submit_local(Command::Tick).await, Err(SubmitError::ShuttingDown));
    assert!(group.shutdown().await.is_err());
}
