//! A node's copy of a group over a real store and a real log, and what may happen to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use ratequeue_limiter::{
    Acquire, Command, Condition, Cost, LeaseSpec, LimitName, LimitSpec, Load, LogTime, Metadata,
    Priority, PutResource, QueueSpec, RequestId, ResourceName, ResourceSpec, Rule, State, TrueUp,
    TtlMs, WaitMs,
};
use ratequeue_storage::{
    Entry, GroupName, Header, LogId, LogOptions, LogStore, ReadLimit, Slot, SlotError, SpaceProbe,
    StateOptions, StateStore,
};
use tempfile::TempDir;

use super::super::{CheckpointError, Incoming, Slots};
use crate::checkpoint::load;
use crate::format::batch::{self, EntryBatch};
use crate::format::membership;
use crate::format::record::{self, StateSink};
use crate::replica::clock::{LogClock, SystemClock};
use crate::replica::growth::{CheckpointPolicy, CheckpointTrigger};
use crate::replica::{Machine, Replica};

/// A folder in memory where there is one: what is tested is not the disk.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::Builder::new()
        .tempdir_in(if memory.is_dir() { memory } else { std::env::temp_dir() })
        .unwrap()
}

pub(super) struct Disk {
    dir: TempDir,
    pub(super) free: Arc<AtomicU64>,
    pub(super) store: StateStore,
}

impl Disk {
    pub(super) fn new() -> Self {
        let (dir, free) = (folder(), Arc::new(AtomicU64::new(u64::MAX)));
        let store = Self::open(&dir, &free);
        Self { dir, free, store }
    }

    fn open(dir: &TempDir, free: &Arc<AtomicU64>) -> StateStore {
        let free = Arc::clone(free);
        let space = SpaceProbe::new(move |_| Ok(free.load(Ordering::SeqCst)));
        let options = StateOptions { pause: Duration::ZERO, cache_bytes: 4 * 1024 * 1024, space };
        StateStore::open(dir.path().join("state"), options).unwrap().0
    }
}

/// One node's copy of a group, and what it must be.
pub(super) struct Node<'a> {
    disk: &'a Disk,
    group: GroupName,
    pub(super) log: LogStore,
    replica: Arc<Replica>,
    slots: Arc<Slots>,
    /// The state that the entries add up to, and those that the leader has beyond this node.
    truth: State,
    index: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

fn commands(index: u64, random: &mut StdRng) -> Vec<Command> {
    let resource = ResourceName::new(&format!("r{}", random.random_range(0..4))).unwrap();
    let limit =
        LimitSpec { rule: Rule::Concurrency { quota: 2 }, cost: Cost::One, true_up: TrueUp::Both };
    let spec = ResourceSpec {
        limits: BTreeMap::from([(LimitName::new("slots").unwrap(), limit)]),
        queue: QueueSpec::default(),
        lease: LeaseSpec::default(),
    };

    let request = RequestId::new(&format!("q{index}")).unwrap();
    let put = PutResource {
        request: request.clone(),
        resource: resource.clone(),
        spec,
        condition: Condition::Any,
    };

    let acquire = Acquire {
        request,
        resource,
        load: Load::Scalar(1),
        priority: Priority::DEFAULT,
        wait_ms: WaitMs::new(5_000).unwrap(),
        ttl_ms: Some(TtlMs::new(20_000).unwrap()),
        metadata: Metadata::default(),
    };

    vec![if random.random_ratio(1, 3) {
        Command::PutResource(put)
    } else {
        Command::Acquire(acquire)
    }]
}

impl<'a> Node<'a> {
    pub(super) fn new(disk: &'a Disk, number: u64) -> Self {
        let group = GroupName::new(format!("g{number}")).unwrap();
        let (log, replica, slots) = Self::start(disk, &group);
        let node = Self {
            disk,
            group,
            log,
            replica,
            slots,
            truth: State::new(),
            index: 0,
            counts: BTreeMap::new(),
        };

        // A log begins with entry 0.
        node.append(batch::encode(LogTime(0), &[]).unwrap());
        node
    }

    /// As `Group::open` does.
    fn start(disk: &Disk, group: &GroupName) -> (LogStore, Arc<Replica>, Arc<Slots>) {
        let path = disk.dir.path().join(format!("log-{group}"));
        let (log, _) = LogStore::open(path, LogOptions::default()).unwrap();
        let Ok(loaded) = load::load(&disk.store, group, &log).unwrap() else {
            panic!("no slot is whole")
        };
        let (checkpoints, _requests) = CheckpointTrigger::new(CheckpointPolicy::default());
        let clock = Arc::new(LogClock::new(Arc::new(SystemClock::default()), loaded.time));
        let replica = Replica::new(group.to_string(), 1, loaded.machine, clock, checkpoints, 0);
        let slots = Slots::new(disk.store.clone(), group.clone(), loaded.slots, true);
        (log, Arc::new(replica), slots)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn id(index: u64) -> LogId {
        LogId { term: 1, node: 1, index }
    }

    pub(super) fn apply(&mut self, random: &mut StdRng) {
        for _ in 0..random.random_range(1..6) {
            self.index += 1;
            let (stamp, commands) = (LogTime(self.index * 700_000), commands(self.index, random));
            let payload = batch::encode(stamp, &commands).unwrap();
            self.append(payload);
            self.truth.apply(self.index, stamp, commands.clone());
            self.replica.apply(Self::id(self.index), EntryBatch { stamp, commands });
        }
        self.count("applied");
    }

    fn append(&self, payload: Bytes) {
        let (done, waiting) = std::sync::mpsc::channel();
        let entry = Entry { id: Self::id(self.index), payload };
        self.log.append(vec![entry], Box::new(move |result| done.send(result).unwrap())).unwrap();
        waiting.recv().unwrap().unwrap();
    }

    pub(super) fn checkpoint(&mut self) {
        let made = self.slots.checkpoint(&self.replica, 3, &AtomicBool::new(false));
        self.count(if made.is_ok() { "checkpoints" } else { "deferred for want of room" });
        match made {
            Ok(_) => self.purge(),
            // A checkpoint that is made wrong is noticed by the writer. It must not be made at all.
            Err(error) => assert!(error.is_deferred() && self.is_full(), "{error}"),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.disk.free.load(Ordering::SeqCst) < u64::MAX
    }

    /// As after every checkpoint.
    fn purge(&self) {
        let purged = self.log.state().purged;
        if let Some(upto) = self.slots.older().and_then(|older| older.applied)
            && Some(upto) > purged
        {
            self.log.purge(upto).unwrap();
        }
    }

    /// The process dies in the middle of a checkpoint.
    pub(super) fn kill(&mut self, random: &mut StdRng) {
        if let Ok((mut open, extent)) = self.slots.open(None, 0) {
            let mut machine = self.replica.machine.write();
            machine.state.freeze(extent).unwrap();
            let mut records = Vec::new();
            for _ in 0..random.random_range(0..3) {
                machine.state.drain(2, &mut records);
            }
            for (key, record) in records {
                let (kind, id) = record::stored_key(key);
                match record {
                    Some(record) => {
                        open.writer.put(kind, id, &record::encode(&record).unwrap()).unwrap()
                    }
                    None => open.writer.delete(kind, id).unwrap(),
                }
            }
        }

        self.count("killed");
        self.restart();
    }

    pub(super) fn restart(&mut self) {
        self.log.close().unwrap();
        let (log, replica, slots) = Self::start(self.disk, &self.group);
        (self.log, self.replica, self.slots) = (log, replica, slots);
        let from = self.replica.machine.read().applied.map_or(0, |applied| applied.index + 1);
        let limit = ReadLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
        for entry in self.log.read_bounded(from..self.index + 1, limit).unwrap() {
            self.replica.apply(entry.id, batch::decode(&entry.payload).unwrap());
        }
        assert_eq!(
            self.replica.machine.write().state.digest(),
            self.truth.digest(),
            "after a restart"
        );
    }

    /// A snapshot begins to come, ends at some point, and is installed or not.
    pub(super) fn receive(&mut self, random: &mut StdRng) {
        let Ok(mut incoming) = self.slots.receive() else {
            assert!(self.is_full());
            return;
        };
        let ahead = random.random_range(0..4);
        let mut leader = State::from_records(self.truth.to_records()).unwrap();
        let mut entries = Vec::new();
        for index in self.index + 1..=self.index + ahead {
            let (stamp, commands) = (LogTime(index * 700_000), commands(index, random));
            leader.apply(index, stamp, commands.clone());
            entries.push((stamp, commands));
        }

        let records: Vec<_> = leader.to_records().collect();
        let whole = random.random_ratio(1, 2);
        let sent = if whole { records.len() } else { random.random_range(0..=records.len()) };
        // One that lacks something comes to its end all the same.
        let comes_to_end = !whole && random.random_ratio(2, 3);
        let lacks = comes_to_end.then(|| random.random_range(0..records.len()));
        let sent = if lacks.is_some() { records.len() } else { sent };
        for (nth, (key, record)) in records[..sent].iter().enumerate() {
            if lacks == Some(nth) {
                continue;
            }
            let (kind, id) = record::stored_key(*key);
            if incoming.record(kind, id, &record::encode(record).unwrap()).is_err() {
                assert!(self.is_full());
                return;
            }
        }
        let membership =
            membership::encode_stored(&self.replica.machine.read().membership).unwrap();
        let applied = Some(Self::id(self.index + ahead));
        let (records, digest) = (records.len() as u64, leader.digest());
        let promised = Header { applied, membership, records, digest, sequence: 0, received: true };

        if lacks.is_some() {
            self.count("incomplete");
            let error = incoming.finish(&promised).expect_err("the snapshot lacks a record");
            assert!(matches!(error, CheckpointError::Slot(SlotError::Mismatch { .. })), "{error}");
            return;
        }
        if !whole || random.random_ratio(1, 3) {
            self.count("broken off");
            if whole {
                // It has come whole, and openraft does not want it.
                drop(incoming.finish(&promised).map(drop));
            } else {
                self.break_off(incoming);
            }
            return;
        }
        let Ok(received) = incoming.finish(&promised) else { panic!("the snapshot is whole") };
        match received.commit() {
            Ok((header, state, guard)) => {
                self.count("installed");
                let membership = self.replica.machine.read().membership.clone();
                self.replica.replace(Machine { state, applied: header.applied, membership });
                drop(guard);
                self.index += ahead;
                for (index, (stamp, commands)) in (self.index + 1 - ahead..).zip(entries) {
                    self.truth.apply(index, stamp, commands);
                }
                self.log.purge(Self::id(self.index)).unwrap();
            }
            Err(error) => assert!(error.is_deferred() && self.is_full(), "{error}"),
        }
    }

    /// A checkpoint is about to begin at the very moment at which a snapshot is given up.
    fn break_off(&self, incoming: Incoming) {
        let (slots, begun) = (Arc::clone(&self.slots), Arc::new(AtomicBool::new(false)));
        let about = Arc::clone(&begun);
        let next = std::thread::spawn(move || {
            about.store(true, Ordering::SeqCst);
            loop {
                match slots.open(None, 0) {
                    Err(CheckpointError::Busy) => std::hint::spin_loop(),
                    other => return other.map(drop),
                }
            }
        });

        while !begun.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }

        drop(incoming);
        let opened = next.join().unwrap();
        let refused = opened.as_ref().is_err_and(CheckpointError::is_no_room);
        assert!(opened.is_ok() || (refused && self.is_full()), "{opened:?}");
    }

    /// At least one slot verifies, once there was a checkpoint, and the log reaches back to it.
    pub(super) fn check(&self, step: &str) {
        let first = self.log.state().first_index();
        let mut reached = first == 0;
        for slot in Slot::ALL {
            match self.disk.store.read_slot(&self.group, slot, &mut StateSink::default()) {
                Ok(header) => {
                    reached |= first <= header.applied.map_or(0, |applied| applied.index) + 1
                }
                Err(SlotError::Empty) => {}
                Err(error) => panic!("after {step}: slot {slot} counts, and: {error}"),
            }
        }

        assert!(reached, "after {step}: no slot verifies that the log reaches back to");
        if let Some(newest) = self.slots.newest() {
            let header = self.disk.store.header(&self.group, newest.slot);
            assert_eq!(
                header.as_ref(),
                Ok(&newest.header),
                "after {step}: what is known of the newest slot"
            );
        }
    }
}
