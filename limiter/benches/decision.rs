//! What one decision costs, and what a resource and a waiting lease weigh.
//!
//! `cargo bench -p ratequeue-limiter`. A round is two commands in two entries: an acquire, and the
//! release of a held lease. Requests are made before the clock starts. The figures printed last
//! compare sizes in turn, A B A B, in one run.

#![allow(
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ratequeue_limiter::{
    Acquire, Algorithm, Command, Condition, DeleteResource, EventKind, Extent, Kind, LEVEL_MAX,
    LeaseId, LeaseSpec, LeaseState, LimitDraft, LimitName, Load, LogTime, Metadata, Period,
    Priority, PutResource, QueueSpec, Release, Reply, RequestId, ResourceName, ResourceSpec, State,
    TtlMs, WaitMs,
};

/// Log time between two rounds, in microseconds. At 10,000 rounds a second 600,000 ended leases are
/// remembered, most of them far from any cache.
const STEP_US: u64 = 100;
/// The same at 100 rounds a second: 6,000 are remembered.
const SLOW_STEP_US: u64 = 10_000;
/// Rounds whose requests are made at once.
const CHUNK: u64 = 10_000;
/// Decisions in a round.
const DECISIONS: u64 = 2;

/// A group under load.
struct Group {
    state: State,
    index: u64,
    now: LogTime,
    names: Vec<ResourceName>,
    held: VecDeque<LeaseId>,
    requests: u64,
    random: u64,
    /// The period that began with the last checkpoint.
    carried: Option<Period>,
    /// Log time between two rounds.
    step_us: u64,
}

fn concurrency(quota: u64) -> LimitDraft {
    LimitDraft { kind: Some(Kind::Concurrency), quota: Some(quota), ..LimitDraft::default() }
}

fn rate(algorithm: Algorithm) -> LimitDraft {
    LimitDraft {
        kind: Some(Kind::Rate),
        algorithm: Some(algorithm),
        quota: Some(1 << 40),
        window_ms: Some(60_000),
        ..LimitDraft::default()
    }
}

fn spec(limits: &[(&str, LimitDraft)]) -> ResourceSpec {
    let limits: BTreeMap<_, _> = limits
        .iter()
        .map(|(name, draft)| (LimitName::new(name).expect("a name"), draft.clone()))
        .collect();
    let queue =
        QueueSpec { max_waiting: 1_000_000, max_wait_ms: 86_400_000, ..QueueSpec::default() };
    ResourceSpec::new(
        limits,
        queue,
        LeaseSpec { default_ttl_ms: 86_400_000, max_ttl_ms: 86_400_000 },
    )
    .expect("valid")
}

impl Group {
    /// A group with so many resources of this kind. Their requests are forgotten as they are made.
    fn new(resources: u64, spec: &ResourceSpec) -> Self {
        let (state, names) = (State::at_level(LEVEL_MAX), Vec::new());
        let mut group = Self {
            state,
            index: 0,
            now: LogTime(0),
            names,
            held: VecDeque::new(),
            requests: 0,
            random: 0x9e37_79b9,
            carried: None,
            step_us: STEP_US,
        };

        for n in 0..resources {
            let resource = ResourceName::new(&format!("resource-{n:08}")).expect("a name");
            group.names.push(resource.clone());
            let request = RequestId::new(&format!("put-{n}")).expect("an id");
            group.now = group.now.after_us(1_000_000);
            let put =
                PutResource { request, resource, spec: spec.clone(), condition: Condition::Any };
            group.apply(Command::PutResource(put));
        }

        group
    }

    fn apply(&mut self, command: Command) -> Option<LeaseId> {
        self.index += 1;
        let applied = black_box(self.state.apply(self.index, self.now, vec![command]));
        for event in &applied.events {
            if let EventKind::Granted { lease, .. } = event.kind {
                self.held.push_back(lease);
            }
        }
        match applied.outcomes.first() {
            Some(Ok(Reply::Acquired(lease))) => Some(lease.id),
            _ => None,
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn acquires(&mut self, count: u64) -> Vec<Acquire> {
        let some = |group: &mut Self| {
            group.requests += 1;
            let at = usize::try_from(group.random() % group.names.len() as u64).unwrap_or(0);
            Acquire {
                request: RequestId::new(&format!("request-{:012}", group.requests)).expect("an id"),
                resource: group.names[at].clone(),
                load: Load::Scalar(1),
                priority: Priority::DEFAULT,
                wait_ms: WaitMs::new(86_400_000).expect("a wait"),
                ttl_ms: None,
                metadata: Metadata::default(),
            }
        };
        (0..count).map(|_| some(self)).collect()
    }

    /// Lets so many acquires join, without a release.
    fn fill(&mut self, count: u64) {
        for acquire in self.acquires(count) {
            assert!(self.apply(Command::Acquire(acquire)).is_some());
        }
    }

    /// So many rounds; the time they took.
    fn rounds(&mut self, count: u64) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let chunk = left.min(CHUNK);
            let acquires = self.acquires(chunk);
            left -= chunk;
            let start = Instant::now();
            for acquire in acquires {
                self.now = self.now.after_us(self.step_us);
                self.apply(Command::Acquire(acquire));
                if let Some(lease) = self.held.pop_front() {
                    self.apply(Command::Release(Release { lease, used: None }));
                }
            }
            took += start.elapsed();
            self.checkpoint();
        }

        took
    }
}

impl Group {
    /// Carries a checkpoint away, as a node does now and then, so that the changes do not pile up.
    fn checkpoint(&mut self) {
        if let Ok(cut) = self.state.freeze(self.carried.map_or(Extent::Full, Extent::Since)) {
            self.carried = Some(cut.period);
            let mut records = Vec::new();
            while self.state.drain(512, &mut records) {
                records.clear();
            }
        }
    }
}

fn ns_per_decision(group: &mut Group, rounds: u64) -> f64 {
    group.rounds(rounds).as_nanos() as f64 / (rounds * DECISIONS) as f64
}

/// Nothing but one resource with one limit.
fn uncontended(resources: u64) -> Group {
    Group::new(resources, &spec(&[("slots", concurrency(1_000_000))]))
}

/// The same with few ended leases to remember.
fn uncontended_slow() -> Group {
    Group { step_us: SLOW_STEP_US, ..uncontended(1) }
}

/// One resource with the three kinds of limits.
fn three_limits() -> Group {
    Group::new(
        1,
        &spec(&[
            ("rpm", rate(Algorithm::SlidingWindow)),
            ("slots", concurrency(1_000_000)),
            ("tpm", rate(Algorithm::TokenBucket)),
        ]),
    )
}

/// One slot, and so many leases in the queue for it.
fn waiting(count: u64) -> Group {
    let mut group = Group::new(1, &spec(&[("slots", concurrency(1))]));
    group.fill(count + 1);
    group
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    group
        .throughput(Throughput::Elements(DECISIONS))
        .sample_size(20)
        .measurement_time(Duration::from_secs(4));

    let mut bench = |name: &str, make: &dyn Fn() -> Group| {
        let mut load = None;
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| load.get_or_insert_with(make).rounds(rounds))
        });
    };

    bench("one resource, 6000 remembered", &uncontended_slow);
    bench("one resource, 600000 remembered", &|| uncontended(1));
    bench("one resource, three limits", &three_limits);
    bench("100 resources", &|| uncontended(100));
    bench("1000000 resources", &|| uncontended(1_000_000));
    bench("100 waiting", &|| waiting(100));

    bench("100000 waiting", &|| waiting(100_000));
    group.finish();
}

/// Compares two sizes in turn; prints medians and minima, and their ratios.
fn ratio(what: &str, mut small: Group, mut large: Group) {
    const TURNS: usize = 21;
    const ROUNDS: u64 = 30_000;
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());

    // Until as many ended leases are remembered as will be from then on.
    small.rounds(700_000);
    large.rounds(700_000);

    for _ in 0..TURNS {
        of_small.push(ns_per_decision(&mut small, ROUNDS));
        of_large.push(ns_per_decision(&mut large, ROUNDS));
    }

    of_small.sort_by(f64::total_cmp);
    of_large.sort_by(f64::total_cmp);
    for (name, at) in [("median", TURNS / 2), ("minimum", 0)] {
        let (small, large) = (of_small[at], of_large[at]);
        println!(
            "{what}, {name}: {small:.0} ns and {large:.0} ns a decision, ratio {:.2}",
            large / small
        );
    }
}

/// The longest applies of ticks while a line of a million is dissolved and leases of another
/// resource expire on time, beside those of the same leases alone; and how late they ended.
fn longest_apply() {
    const IN_LINE: u64 = 1_000_000;
    const HELD: u64 = 20_000;
    const APART_US: u64 = 1_000;
    for in_queue in [0, IN_LINE] {
        let mut group = Group::new(2, &spec(&[("slots", concurrency(HELD))]));
        let names = group.names.clone();
        group.names = vec![names[0].clone()];
        group.fill(HELD + in_queue);
        group.names = vec![names[1].clone()];
        let first = group.now.after_us(1_000_000);
        for (n, mut acquire) in (0..).zip(group.acquires(HELD)) {
            group.now = group.now.after_us(10);
            acquire.ttl_ms = Some(TtlMs::new(1_000 + n * APART_US / 1_000).expect("a ttl"));
            group.apply(Command::Acquire(acquire));
        }

        group.now = first;
        let request = RequestId::new("delete").expect("an id");
        let delete =
            DeleteResource { request, resource: names[0].clone(), condition: Condition::Any };
        let (mut times, mut ended, mut late_us) = (Vec::new(), 0, 0);
        let mut command = Command::DeleteResource(delete);
        while ended < HELD || group.state.next_due() == Some(LogTime(0)) {
            group.index += 1;
            let due = group.state.next_due().filter(|due| due.0 > 0);
            let begun = Instant::now();
            let applied = black_box(group.state.apply(group.index, group.now, vec![command]));
            times.push(begun.elapsed());
            let is_expiry = |kind: &EventKind| {
                matches!(kind, EventKind::Ended { state: LeaseState::Expired, .. })
            };
            let expired = applied.events.iter().filter(|event| is_expiry(&event.kind)).count();
            ended += expired as u64;
            if expired > 0 {
                late_us = late_us.max(due.map_or(0, |due| due.since_us(group.now)));
            }
            command = Command::Tick;
            group.now = group.now.after_us(APART_US);
        }
        times.sort();
        let last = times.len() - 1;
        let [median, most, longest] =
            [last / 2, last * 999 / 1000, last].map(|at| times[at].as_micros());
        println!(
            "a line of {in_queue} deleted while {HELD} leases expire: {} applies, median {median} us, 99.9th {most} us, \
             longest {longest} us; leases ended {late_us} us late at most",
            times.len()
        );
    }
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn memory() {
    const COUNT: u64 = 500_000;
    let before = resident();
    let names: Vec<_> = (0..COUNT)
        .map(|n| ResourceName::new(&format!("resource-{n:08}")).expect("a name"))
        .collect();

    println!("a name of 17 characters: {} bytes", (resident() - before) / COUNT);
    drop(names);
    let mut waiting = Group::new(1, &spec(&[("slots", concurrency(1))]));
    waiting.fill(1);
    let before = resident();
    waiting.fill(COUNT);

    println!("a waiting lease, with its request id: {} bytes", (resident() - before) / COUNT);
    let before = resident();
    let idle = uncontended(COUNT);
    println!("an idle resource, with its name: {} bytes", (resident() - before) / COUNT);
    drop((waiting, idle));
}

fn main() {
    let filtered = std::env::args().skip(1).any(|arg| !arg.starts_with('-'));
    if !filtered {
        // Memory first: later a free list would hide the growth.
        memory();
        longest_apply();
        ratio("6000 and 600000 remembered", uncontended_slow(), uncontended(1));
        ratio("100 and 1000000 resources", uncontended(100), uncontended(1_000_000));
        ratio("100 and 100000 waiting", waiting(100), waiting(100_000));
        ratio("one limit and three limits", uncontended(1), three_limits());
    }
    let mut c = Criterion::default().configure_from_args();
    benches(&mut c);
    c.final_summary();
}
