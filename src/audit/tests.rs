//! The audit against the limiter, and against decisions that break each bound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ratequeue_limiter::{
    Acquire, Command, Condition, Cost, Event, EventKind, LEVEL_MAX, LeaseSpec, LimitName,
    LimitSpec, Metadata, Priority, PutResource, QueueSpec, Release, Reply, RequestId, Rule, TrueUp,
    TtlMs, WaitMs,
};
use ratequeue_storage::LogId;

use super::*;

const QUOTA: u64 = 20;

/// A group whose log is audited as it grows.
struct Group {
    state: State,
    audit: Audit,
    index: u64,
    now: u64,
    requests: u64,
    leases: Vec<LeaseId>,
}

impl Group {
    fn new() -> Self {
        let state = State::at_level(LEVEL_MAX);
        let audit = Audit::new("eu", &state);
        let mut group = Self { state, audit, index: 0, now: 0, requests: 0, leases: Vec::new() };
        let put = group.put(rules(QUOTA, 1_000));
        group.apply(0, vec![put]);
        group
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(&self.requests.to_string()).unwrap()
    }

    fn put(&mut self, rules: [Rule; 3]) -> Command {
        let limit = |rule| LimitSpec { rule, cost: Cost::Load, true_up: TrueUp::Both };
        let limits = ["slots", "window", "bucket"].map(|name| LimitName::new(name).unwrap());
        let spec = ResourceSpec {
            limits: limits.into_iter().zip(rules.map(limit)).collect(),
            queue: QueueSpec::default(),
            lease: LeaseSpec { default_ttl_ms: 300, max_ttl_ms: 300 },
        };
        let request = self.request();
        let resource = api();
        Command::PutResource(PutResource { request, resource, spec, condition: Condition::Any })
    }

    fn acquire(&mut self, load: u64) -> Command {
        Command::Acquire(Acquire {
            request: self.request(),
            resource: api(),
            load: Load::Scalar(load),
            priority: Priority::DEFAULT,
            wait_ms: WaitMs::new(2_000).unwrap(),
            ttl_ms: Some(TtlMs::new(300).unwrap()),
            metadata: Metadata::default(),
        })
    }

    fn apply(&mut self, after_us: u64, commands: Vec<Command>) -> Vec<Decision> {
        let stamp = LogTime(self.now + after_us);
        let applied = self.state.apply(self.index + 1, stamp, commands);
        for outcome in &applied.outcomes {
            if let Ok(Reply::Acquired(view)) = outcome {
                self.leases.push(view.id);
            }
        }
        (self.index, self.now) = (self.index + 1, stamp.0);
        self.observe(applied)
    }

    fn observe(&mut self, applied: ratequeue_limiter::Applied) -> Vec<Decision> {
        let id = LogId { term: 1, node: 1, index: self.index };
        let replayed = Replayed { id, is_committed: true, applied };
        self.audit.observe(&replayed, &self.state)
    }

    /// An entry with an event that the limiter did not make.
    fn granted(&mut self, kind: EventKind) {
        self.index += 1;
        let events = vec![Event { resource: api(), standing: None, kind }];
        self.observe(ratequeue_limiter::Applied { outcomes: Vec::new(), events });
    }

    fn report(&self, limit: &str) -> Report {
        self.audit.reports().into_iter().find(|report| report.limit == limit).unwrap()
    }
}

fn api() -> ResourceName {
    ResourceName::new("api").unwrap()
}

fn rules(quota: u64, window_ms: u64) -> [Rule; 3] {
    [
        Rule::Concurrency { quota },
        Rule::SlidingWindow { quota, window_ms },
        Rule::TokenBucket { quota, window_ms, burst: Some(quota) },
    ]
}

/// Random loads, corrections and changes, near every bound: the limiter breaks none, by a count
/// that shares nothing with its own.
#[test]
fn what_the_limiter_decides_holds_every_bound() {
    let (mut reached, mut decisions) = ([0; 3], 0);
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut group = Group::new();
        for _ in 0..300 {
            let mut commands = Vec::new();
            for _ in 0..random.random_range(1..4) {
                commands.push(match random.random_range(0..20) {
                    // In every other history the bounds stay, and are reached.
                    0 if seed % 2 == 0 => {
                        let (quota, window_ms) =
                            (random.random_range(5..30), random.random_range(200..2_000));
                        let mut rules = rules(quota, window_ms);
                        if random.random_range(0..4) == 0 {
                            rules.swap(1, 2);
                        }
                        group.put(rules)
                    }
                    1..8 if !group.leases.is_empty() => {
                        let at = random.random_range(0..group.leases.len());
                        let used = random.random_bool(0.6).then(|| random.random_range(0..12));
                        let lease = group.leases.swap_remove(at);
                        Command::Release(Release { lease, used: used.map(Load::Scalar) })
                    }
                    _ => group.acquire(random.random_range(0..8)),
                });
            }
            group.apply(random.random_range(0..60_000), commands);
        }

        let (breaches, first) = group.audit.breaches();
        assert_eq!(breaches, 0, "seed {seed}: {first:?}");
        decisions += group.audit.decisions();
        for (limit, reached) in ["slots", "window", "bucket"].iter().zip(&mut reached) {
            let report = group.report(limit);
            *reached += u32::from(report.most * 10 >= report.bound * 9);
        }
    }
    // A limit that is never full shows nothing.
    assert!(decisions > 100_000, "only {decisions} decisions");
    assert!(reached.iter().all(|reached| *reached > 150), "bounds reached: {reached:?}");
}

#[test]
fn a_grant_too_many_is_a_breach_of_every_limit_that_it_exceeds() {
    let mut group = Group::new();
    let (held, queued) = (group.acquire(QUOTA), group.acquire(QUOTA));
    group.apply(1_000, vec![held, queued]);
    assert_eq!(group.audit.breaches().0, 0);

    group.granted(EventKind::Granted {
        lease: group.leases[1],
        load: QUOTA,
        priority: 5,
        fencing_token: 9,
        waited_us: 0,
    });
    let (breaches, first) = group.audit.breaches();
    assert_eq!(breaches, 3, "{first:?}");
    assert!(first.iter().all(|breach| breach.index == group.index), "{first:?}");
    for limit in ["slots", "window", "bucket"] {
        let report = group.report(limit);
        assert_eq!((report.most, report.bound, report.breaches), (2 * QUOTA, QUOTA, 1), "{limit}");
    }
}

#[test]
fn a_fencing_token_that_does_not_grow_is_a_breach() {
    let mut group = Group::new();
    let acquire = group.acquire(1);
    group.apply(0, vec![acquire]);
    let lease = group.leases[0];
    let (load, priority) = (1, 5);
    group.granted(EventKind::Granted { lease, load, priority, fencing_token: 1, waited_us: 0 });
    let (_, first) = group.audit.breaches();
    assert_eq!(first[0].detail, "the fencing token 1 follows 1");
}

#[test]
fn a_refund_of_what_has_drained_is_a_breach() {
    let mut count = Count::new(rules(QUOTA, 1_000)[2]);
    let lease = LeaseId { seq: 1, tag: 0 };
    assert_eq!(count.charge(lease, QUOTA, 1, LogTime(1), true), Judged::Held);
    // Half of it has drained after half of the window.
    assert_eq!(count.refund(lease, LogTime(1), QUOTA / 2, LogTime(500_001)), Judged::Held);
    let over = count.refund(lease, LogTime(1), 1, LogTime(500_001));
    assert!(matches!(over, Judged::Broken(_)), "{over:?}");

    // Whoever counts from a checkpoint on does not know what was charged before it.
    let mut count = Count::new(rules(QUOTA, 1_000)[2]);
    count.resume();
    assert_eq!(count.charge(lease, QUOTA, 1, LogTime(1), true), Judged::Held);
    assert_eq!(count.refund(lease, LogTime(1), QUOTA, LogTime(900_001)), Judged::Held);
}

#[test]
fn a_window_counts_to_the_microsecond() {
    let mut count = Count::new(rules(QUOTA, 1_000)[1]);
    let [first, second] = [1, 2].map(|seq| LeaseId { seq, tag: 0 });
    assert_eq!(count.charge(first, QUOTA, 1, LogTime(5), true), Judged::Held);
    let early = count.charge(second, 1, 2, LogTime(1_000_004), true);
    assert!(matches!(early, Judged::Broken(_)), "{early:?}");
    let mut count = Count::new(rules(QUOTA, 1_000)[1]);
    assert_eq!(count.charge(first, QUOTA, 1, LogTime(5), true), Judged::Held);
    assert_eq!(count.charge(second, QUOTA, 2, LogTime(1_000_005), true), Judged::Held);
}
