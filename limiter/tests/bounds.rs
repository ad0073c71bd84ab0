//! The bounds that take a crowd to reach.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use ratequeue_limiter::{
    Acquire, Applied, Command, Condition, Kind, LEVEL_MAX, LeaseId, LeaseSpec, LimitDraft,
    LimitName, Load, LogTime, Metadata, Priority, PutResource, QueueSpec, Release, Reply,
    RequestId, ResourceName, ResourceSpec, State, TtlMs, WaitMs, caps,
};

const BATCH: u64 = 1_000;

struct Group {
    state: State,
    index: u64,
    now: LogTime,
}

impl Group {
    fn new() -> Self {
        let mut group = Self { state: State::new(), index: 0, now: LogTime(0) };
        let slots = LimitDraft {
            kind: Some(Kind::Concurrency),
            quota: Some(caps::LOAD_MAX),
            ..LimitDraft::default()
        };

        let limits = BTreeMap::from([(LimitName::new("slots").unwrap(), slots)]);
        let put = PutResource {
            request: RequestId::new("put").unwrap(),
            resource: ResourceName::new("api").unwrap(),
            spec: ResourceSpec::new(limits, QueueSpec::default(), LeaseSpec::default()).unwrap(),
            condition: Condition::Any,
        };

        group.apply(vec![Command::PutResource(put)]);
        group.now = LogTime(1);
        group
    }

    fn apply(&mut self, commands: Vec<Command>) -> Applied {
        self.index += 1;
        self.state.apply(self.index, self.now, commands)
    }

    fn acquire(n: u64) -> Command {
        Command::Acquire(Acquire {
            request: RequestId::new(&format!("r{n}")).unwrap(),
            resource: ResourceName::new("api").unwrap(),
            load: Load::Scalar(1),
            priority: Priority::DEFAULT,
            wait_ms: WaitMs::NONE,
            ttl_ms: Some(TtlMs::new(1_000).unwrap()),
            metadata: Metadata::default(),
        })
    }

    /// Acquires the requests of these numbers; the leases of those that are held.
    fn ensure(&mut self, numbers: std::ops::Range<u64>) -> Vec<LeaseId> {
        let applied = self.apply(numbers.map(Self::acquire).collect());
        let held = applied.outcomes.iter().filter_map(|outcome| match outcome {
            Ok(Reply::Acquired(view)) => Some(view.id),
            _ => None,
        });
        held.collect()
    }

    fn release(&mut self, leases: Vec<LeaseId>) {
        self.apply(
            leases
                .into_iter()
                .map(|lease| Command::Release(Release { lease, used: None }))
                .collect(),
        );
    }

    fn remembered(&self) -> u64 {
        // One record each of the group and of the resource; the rest are leases and changes.
        self.state.records() - 2 - self.state.leases_live() as u64
    }
}

/// At most a million ended leases are remembered, the oldest are forgotten first, and that is
/// counted. It holds after each entry, also after one in which a thousand leases expire.
#[test]
fn at_most_a_million_are_remembered() {
    let most = caps::REMEMBERED_MAX as u64;
    let mut group = Group::new();
    for batch in 0..=most / BATCH {
        let leases = group.ensure(batch * BATCH..(batch + 1) * BATCH);
        assert_eq!(leases.len() as u64, BATCH);
        group.release(leases);
        assert!(group.remembered() <= most);
    }

    assert_eq!(group.remembered(), most);
    // The change that made the resource was the oldest.
    assert_eq!(group.state.forgotten_early(), BATCH + 1);
    assert_eq!(
        group.ensure(BATCH..BATCH + 1),
        [],
        "the request of a remembered lease is granted again"
    );

    let anew = group.ensure(0..BATCH);
    assert_eq!(anew.len() as u64, BATCH, "the oldest were not forgotten");
    let held = group.ensure(most * 2..most * 2 + 2 * BATCH);
    assert_eq!(held.len() as u64, 2 * BATCH);
    group.now = LogTime(2_000_000);

    while group.state.next_due().is_some_and(|due| due <= group.now) {
        group.apply(vec![Command::Tick]);
        assert!(group.remembered() <= most);
    }

    assert_eq!(group.state.leases_live(), 0);
    assert_eq!(group.state.forgotten_early(), 4 * BATCH + 1);
    group.state.check().unwrap();
}

/// Large ended leases are bounded in bytes: the oldest lose their metadata, and are remembered on.
#[test]
fn the_oldest_large_leases_lose_their_metadata() {
    let mut group = Group::new();
    group.apply(vec![Command::RaiseLevel(LEVEL_MAX)]);
    let large = |n: u64| {
        let Command::Acquire(mut acquire) = Group::acquire(n) else { unreachable!("an acquire") };
        acquire.metadata =
            Metadata::new((0..4).map(|key| (format!("key-{key}"), "x".repeat(250))).collect())
                .unwrap();
        Command::Acquire(acquire)
    };

    let bytes = 4 * 250;
    let batches = caps::REMEMBERED_BYTES_MAX / bytes / BATCH + 20;
    let mut ended = Vec::new();

    for batch in 0..batches {
        let applied = group.apply((batch * BATCH..(batch + 1) * BATCH).map(large).collect());
        let leases = applied.outcomes.iter().map(|outcome| match outcome {
            Ok(Reply::Acquired(view)) => view.id,
            other => panic!("not granted: {other:?}"),
        });
        let leases: Vec<_> = leases.collect();
        ended.extend(leases.iter().copied());
        group.release(leases);
    }

    let metadata = |lease: LeaseId| group.state.lease(lease, group.now).unwrap().metadata.len();
    assert_eq!((metadata(ended[0]), metadata(ended[ended.len() - 1])), (0, 4));
    let kept = ended.iter().filter(|lease| metadata(**lease) > 0).count() as u64;
    assert!(kept * bytes <= caps::REMEMBERED_BYTES_MAX, "{kept} leases have kept their metadata");
    assert!(kept > (batches - 40) * BATCH / 2, "only {kept} leases have kept their metadata");
    assert_eq!(group.state.forgotten_early(), 0);
    group.state.check().unwrap();
}

/// Names and requests are found by hash and told apart by their text; a state of some size is put
/// together again from its records in any order.
#[test]
fn records_come_in_any_order() {
    let mut group = Group::new();
    let mut leases = group.ensure(0..500);
    group.release(leases.split_off(250));
    let mut records: Vec<_> = group.state.to_records().collect();
    records.reverse();
    let mut rebuilt = State::from_records(records.clone()).unwrap();

    assert_eq!(rebuilt.digest(), group.state.digest());
    assert_eq!(rebuilt.next_due(), group.state.next_due());
    rebuilt.check().unwrap();
    records.push(records[0].clone());
    assert!(State::from_records(records.clone()).is_err(), "a record came twice");
    records.truncate(100);

    assert!(
        State::from_records(records).is_err(),
        "the resource and the group's own record are missing"
    );
}
