//! The steps of a seed.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ratequeue_limiter::LEVEL_MAX;

use super::{
    Acquire, Advance, Change, Command, Condition, Cost, Kind, Limit, Load, Spec, Step, TrueUp,
};

const RESOURCES: [&str; 2] = ["x", "y"];
const LIMITS: [&str; 4] = ["l1", "l2", "l3", "l4"];

struct Dice {
    rng: StdRng,
    requests: u64,
    acquires: Vec<Acquire>,
    /// Large and slow rates only, so that there is much to give back.
    roomy: bool,
    level: u32,
    puts: BTreeMap<&'static str, Spec>,
}

/// The feature level of a seed: mostly the last one.
pub fn level(seed: u64) -> u32 {
    if seed.is_multiple_of(5) { 1 } else { LEVEL_MAX }
}

/// The steps of a seed: about `commands` commands.
pub fn steps(seed: u64, commands: usize) -> Vec<Step> {
    let mut dice = Dice {
        rng: StdRng::seed_from_u64(seed),
        requests: 0,
        acquires: Vec::new(),
        roomy: seed.is_multiple_of(3),
        level: level(seed),
        puts: BTreeMap::new(),
    };

    let mut steps: Vec<Step> = RESOURCES
        .iter()
        .map(|resource| {
            let put = dice.put(resource, Condition::Any);
            Step {
                advance: Advance::By(dice.rng.random_range(0..1_000_000)),
                reload: false,
                commands: vec![put],
            }
        })
        .collect();

    let mut made = 0;
    while made < commands {
        let count = if dice.one_in(8) { dice.rng.random_range(2..6) } else { 1 };
        let commands = (0..count).map(|_| dice.command()).collect();
        steps.push(Step { advance: dice.advance(), reload: dice.one_in(12), commands });
        made += count;
    }

    steps
}

impl Dice {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// The request of a lease, mostly a recent one; sometimes any request, or none that was made.
    fn known(&mut self) -> u64 {
        if self.acquires.is_empty() || self.one_in(20) {
            return self.rng.random_range(0..=self.requests);
        }
        let back = self.acquires.len().min(if self.one_in(4) { 100 } else { 6 });
        self.acquires[self.acquires.len() - 1 - self.rng.random_range(0..back)].request
    }

    fn advance(&mut self) -> Advance {
        match self.rng.random_range(0..40) {
            0..22 => Advance::By(0),
            22..27 => Advance::By(self.rng.random_range(1..50_000)),
            27..32 => Advance::By(self.rng.random_range(1..800_000)),
            32..36 => Advance::Due(0),
            36 => Advance::Due(1),
            37 => Advance::Back(self.rng.random_range(0..2_000_000)),
            38 => Advance::By(self.rng.random_range(1_500_000..16_000_000)),
            _ if self.one_in(4) => Advance::By(61_000_000),
            _ => Advance::By(1),
        }
    }

    fn command(&mut self) -> Command {
        let resource = if self.one_in(4) { RESOURCES[1] } else { RESOURCES[0] };
        match self.rng.random_range(0..if self.level == 1 { 200 } else { 232 }) {
            200..206 => Command::Attend { request: self.known(), call: self.call() },
            206.. => {
                let calls =
                    (0..self.rng.random_range(1..3)).map(|_| (self.known(), self.call())).collect();
                Command::Detach { calls, for_good: self.one_in(3) }
            }
            0..100 => self.acquire(resource),
            100..138 => {
                let used = if self.one_in(3) { None } else { Some(self.load(4)) };
                Command::Release { request: self.known(), used }
            }
            138..148 => {
                let ttl_ms =
                    if self.one_in(3) { None } else { Some(self.rng.random_range(1..9_000)) };
                Command::Extend { request: self.known(), ttl_ms }
            }
            148..158 => Command::Keepalive { requests: (0..3).map(|_| self.known()).collect() },
            158..168 => Command::Tick,
            168..186 => self.patch(resource),
            186..197 => {
                let condition = self.condition();
                self.put(resource, condition)
            }
            _ => Command::Delete { request: self.request(), resource },
        }
    }

    fn condition(&mut self) -> Condition {
        match self.rng.random_range(0..8) {
            0 => Condition::Absent,
            1 => Condition::Version(self.rng.random_range(1..5)),
            _ => Condition::Any,
        }
    }

    fn acquire(&mut self, resource: &'static str) -> Command {
        if self.one_in(7) && !self.acquires.is_empty() {
            let again = self.rng.random_range(0..self.acquires.len());
            let mut acquire = self.acquires[again].clone();
            if self.one_in(6) {
                acquire.priority = 9;
            }
            let call = self.call();
            return Command::Acquire(acquire, call);
        }

        let acquire = Acquire {
            request: self.request(),
            resource,
            load: self.load(4),
            priority: self.pick(&[5, 5, 5, 5, 4, 6, 0]),
            wait_ms: if self.one_in(4) { 0 } else { self.rng.random_range(1..20_000) },
            ttl_ms: if self.one_in(3) { None } else { Some(self.rng.random_range(1..60_000)) },
        };

        self.acquires.push(acquire.clone());
        let call = self.call();
        Command::Acquire(acquire, call)
    }

    /// Few numbers, so that they meet.
    fn call(&mut self) -> u64 {
        if self.level == 1 { 0 } else { self.pick(&[1, 1, 1, 2, 2, 0]) }
    }

    fn load(&mut self, most: u64) -> Load {
        if self.one_in(4) {
            Load::Map {
                a: self.rng.random_range(0..=most / 2),
                b: self.rng.random_range(0..=most / 2),
            }
        } else {
            Load::Scalar(self.rng.random_range(0..=most))
        }
    }

    fn limit(&mut self) -> Limit {
        if self.roomy {
            let kind = self.pick(&[Kind::Bucket, Kind::Bucket, Kind::Window]);
            let (quota, window_ms) =
                (self.rng.random_range(8..24), self.pick(&[6_400, 60_000, 600_000]));
            return Limit {
                kind,
                quota,
                window_ms,
                burst: None,
                cost: Cost::Load,
                true_up: TrueUp::Both,
            };
        }

        let kind = self.pick(&[Kind::Window, Kind::Bucket, Kind::Concurrency]);
        Limit {
            kind,
            quota: self.rng.random_range(2..8),
            window_ms: match kind {
                Kind::Concurrency => 1,
                Kind::Window | Kind::Bucket => {
                    self.pick(&[1, 64, 333, 1_000, 6_400, 20_000, 60_000, 60_000])
                }
            },
            burst: if kind == Kind::Bucket && self.one_in(2) {
                Some(self.rng.random_range(1..9))
            } else {
                None
            },
            cost: self.pick(&[
                Cost::One,
                Cost::One,
                Cost::Load,
                Cost::Load,
                Cost::Load,
                Cost::DimensionA,
            ]),
            true_up: match kind {
                Kind::Concurrency => TrueUp::Both,
                Kind::Window | Kind::Bucket => self.pick(&[
                    TrueUp::Both,
                    TrueUp::Both,
                    TrueUp::Both,
                    TrueUp::DebitOnly,
                    TrueUp::None,
                ]),
            },
        }
    }

    fn put(&mut self, resource: &'static str, condition: Condition) -> Command {
        let mut limits = BTreeMap::new();
        for _ in 0..self.rng.random_range(1..4) {
            limits.insert(self.pick(&LIMITS), self.limit());
        }

        // Few resources count a dimension: they refuse most loads.
        if !self.one_in(4) {
            for limit in limits.values_mut().filter(|limit| limit.cost == Cost::DimensionA) {
                limit.cost = Cost::Load;
            }
        }

        let max_ttl_ms = self.rng.random_range(5_000..90_000);
        let spec = Spec {
            limits,
            max_waiting: self.pick(&[0, 2, 4, 100]),
            max_wait_ms: self.pick(&[0, 500, 5_000, 30_000, 30_000]),
            claim_ms: if self.level == 1 { 5_000 } else { self.pick(&[0, 1, 300, 5_000, 5_000]) },
            default_ttl_ms: self.rng.random_range(1..=max_ttl_ms),
            max_ttl_ms,
        };

        let spec =
            if self.one_in(4) { self.puts.get(resource).cloned().unwrap_or(spec) } else { spec };
        self.puts.insert(resource, spec.clone());
        Command::Put { request: self.request(), resource, spec, condition }
    }

    fn patch(&mut self, resource: &'static str) -> Command {
        let change = match self.rng.random_range(0..12) {
            0..6 => Change::Quota(self.rng.random_range(1..10)),
            6 => Change::Window(self.pick(&[1, 64, 333, 1_000, 6_400, 20_000, 60_000, 60_000])),
            7 => {
                Change::Burst(if self.one_in(2) { None } else { Some(self.rng.random_range(1..9)) })
            }
            8 => Change::Cost(self.pick(&[Cost::One, Cost::Load, Cost::Load, Cost::DimensionA])),
            9 => Change::Remove,
            10 if self.level > 1 => {
                Change::ClaimMs(self.pick(&[None, Some(0), Some(0), Some(300)]))
            }
            _ => Change::Add(self.limit()),
        };

        let request = if self.one_in(10) { self.known() } else { self.request() };
        Command::Patch {
            request,
            resource,
            limit: self.pick(&LIMITS),
            change,
            condition: self.condition(),
        }
    }
}
