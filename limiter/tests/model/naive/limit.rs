//! A limit of the model: its whole history, and what that comes to, worked out anew for every
//! question.

use crate::steps::{Cost, Kind, Limit, Load, TrueUp};

/// Something that happened under a rate.
#[derive(Debug, Clone)]
enum Happened {
    /// Charged to a lease, or to nobody.
    Charge { lease: Option<usize>, units: u64 },
    /// Given back by a lease.
    Refund { lease: usize, units: u64 },
    /// Carried over from another window or algorithm, scaled.
    Carry { scaled: u128 },
    /// From now on the bucket drains at this quota.
    Quota { quota: u64 },
}

/// A limit with its history.
#[derive(Debug, Clone)]
pub struct Tracked {
    pub spec: Limit,
    /// Of the limit: another one after it was removed and made again.
    pub uid: u64,
    /// Of the history: another one after the window or the algorithm changed.
    pub era: u64,
    history: Vec<(u64, Happened)>,
    /// What was granted since the limit was changed last, less what was given back: when, to whom,
    /// how much.
    grants: Vec<(u64, usize, u64)>,
}

/// What a lease was charged under a limit.
#[derive(Debug, Clone)]
pub struct Charged {
    pub uid: u64,
    pub era: u64,
    pub units: u64,
}

pub fn cost(limit: &Limit, load: &Load) -> u64 {
    match (limit.cost, load) {
        (Cost::One, _) => 1,
        (Cost::Load, Load::Scalar(n)) => *n,
        (Cost::Load, Load::Map { a, b }) => a + b,
        (Cost::DimensionA, Load::Map { a, .. }) => *a,
        (Cost::DimensionA, Load::Scalar(_)) => 0,
    }
}

pub fn capacity(limit: &Limit) -> u64 {
    if limit.kind == Kind::Bucket { limit.burst.unwrap_or(limit.quota) } else { limit.quota }
}

fn window_us(limit: &Limit) -> u64 {
    limit.window_ms * 1000
}

/// The first instant at which nothing that happened at `at` is inside the window, counting in
/// 64ths.
fn counts_until(at: u64, limit: &Limit) -> u64 {
    let width = window_us(limit).div_ceil(64);
    (at / width) * width + width + window_us(limit)
}

impl Tracked {
    pub fn new(spec: Limit, uid: u64, now: u64) -> Self {
        let quota = spec.quota;
        Self {
            spec,
            uid,
            era: uid << 32,
            history: vec![(now, Happened::Quota { quota })],
            grants: Vec::new(),
        }
    }

    /// The fluid of a bucket, oldest first: whose, and how much is left of it, scaled by the
    /// window.
    fn fluid(&self, now: u64) -> Vec<(Option<usize>, u128)> {
        let scale = u128::from(window_us(&self.spec));
        let mut queue: Vec<(Option<usize>, u128)> = Vec::new();
        let (mut then, mut quota) = (0, 0);

        for (at, happened) in
            self.history.iter().chain(std::iter::once(&(now, Happened::Carry { scaled: 0 })))
        {
            drain(&mut queue, u128::from(at - then) * u128::from(quota));
            then = *at;
            match happened {
                Happened::Charge { lease, units } => {
                    queue.push((*lease, u128::from(*units) * scale))
                }
                Happened::Refund { lease, units } => {
                    give_back(&mut queue, *lease, u128::from(*units) * scale)
                }
                Happened::Carry { scaled } => queue.push((None, *scaled)),
                Happened::Quota { quota: next } => quota = *next,
            }
        }

        queue
    }

    fn backlog(&self, now: u64) -> u128 {
        self.fluid(now).iter().map(|(_, scaled)| scaled).sum()
    }

    /// What still counts in a window: when it happened, whose it is, and how much of it.
    fn counting(&self, now: u64) -> Vec<(u64, Option<usize>, u64)> {
        let mut counting: Vec<(u64, Option<usize>, u64)> = Vec::new();
        for (at, happened) in &self.history {
            match happened {
                Happened::Charge { lease, units } => counting.push((*at, *lease, *units)),
                Happened::Refund { lease, units } => {
                    let own =
                        counting.iter_mut().find(|(_, other, _)| *other == Some(*lease)).unwrap();
                    own.2 -= units;
                }
                Happened::Carry { .. } | Happened::Quota { .. } => {}
            }
        }
        counting.retain(|(at, _, _)| counts_until(*at, &self.spec) > now);
        counting
    }

    /// Units in use, rounded up. `held` is what the held leases cost now.
    pub fn used(&self, held: u64, now: u64) -> u64 {
        match self.spec.kind {
            Kind::Concurrency => held,
            Kind::Window => self.counting(now).iter().map(|(_, _, units)| units).sum(),
            Kind::Bucket => {
                u64::try_from(self.backlog(now).div_ceil(u128::from(window_us(&self.spec))))
                    .unwrap()
            }
        }
    }

    pub fn fits(&self, units: u64, held: u64, now: u64) -> bool {
        if units == 0 {
            return true;
        }
        match self.spec.kind {
            Kind::Concurrency | Kind::Window => self.used(held, now) + units <= self.spec.quota,
            Kind::Bucket => {
                let scale = u128::from(window_us(&self.spec));
                self.backlog(now) + u128::from(units) * scale
                    <= u128::from(capacity(&self.spec)) * scale
            }
        }
    }

    pub fn charge(&mut self, lease: usize, units: u64, now: u64) -> Charged {
        self.history.push((now, Happened::Charge { lease: Some(lease), units }));
        self.grants.push((now, lease, units));
        self.check_bound();
        Charged { uid: self.uid, era: self.era, units }
    }

    /// Corrects a charge; what was given back, and what was charged on top.
    pub fn true_up(
        &mut self,
        lease: usize,
        charged: &Charged,
        used: &Load,
        now: u64,
    ) -> (u64, u64) {
        let told = match (self.spec.cost, used) {
            (Cost::One, _) | (Cost::DimensionA, Load::Scalar(_)) => return (0, 0),
            (Cost::Load, _) | (Cost::DimensionA, Load::Map { .. }) => cost(&self.spec, used),
        };

        if self.spec.kind == Kind::Concurrency {
            return (0, 0);
        }

        if told < charged.units && self.spec.true_up == TrueUp::Both && charged.era == self.era {
            let units = (charged.units - told).min(self.refundable(lease, now));
            if units > 0 {
                self.history.push((now, Happened::Refund { lease, units }));
                if let Some(grant) = self.grants.iter_mut().find(|(_, other, _)| *other == lease) {
                    grant.2 -= units;
                }
            }
            return (units, 0);
        }

        if told > charged.units && self.spec.true_up != TrueUp::None {
            let units = (told - charged.units).min(self.debitable(now));
            self.history.push((now, Happened::Charge { lease: None, units }));
            return (0, units);
        }

        (0, 0)
    }

    /// Gives all of a charge back that can be.
    pub fn give_back(&mut self, lease: usize, charged: &Charged, now: u64) {
        if charged.era != self.era || self.spec.kind == Kind::Concurrency {
            return;
        }
        let units = charged.units.min(self.refundable(lease, now));
        if units > 0 {
            self.history.push((now, Happened::Refund { lease, units }));
            if let Some(grant) = self.grants.iter_mut().find(|(_, other, _)| *other == lease) {
                grant.2 -= units;
            }
        }
    }

    fn refundable(&self, lease: usize, now: u64) -> u64 {
        match self.spec.kind {
            Kind::Window => self
                .counting(now)
                .iter()
                .filter(|(_, of, _)| *of == Some(lease))
                .map(|(_, _, n)| n)
                .sum(),
            Kind::Bucket => {
                let left: u128 = self
                    .fluid(now)
                    .iter()
                    .filter(|(of, _)| *of == Some(lease))
                    .map(|(_, n)| n)
                    .sum();
                u64::try_from(left / u128::from(window_us(&self.spec))).unwrap()
            }
            Kind::Concurrency => 0,
        }
    }

    /// One quota beyond the capacity may be owed, in all.
    fn debitable(&self, now: u64) -> u64 {
        let most = capacity(&self.spec) + self.spec.quota;
        match self.spec.kind {
            Kind::Window => most.saturating_sub(self.used(0, now)),
            Kind::Bucket => {
                let scale = u128::from(window_us(&self.spec));
                u64::try_from((u128::from(most) * scale).saturating_sub(self.backlog(now)) / scale)
                    .unwrap()
            }
            Kind::Concurrency => 0,
        }
    }

    /// The promise of the algorithm, on what was granted: for all intervals that end with the last
    /// grant.
    fn check_bound(&self) {
        let Some((now, _, _)) = self.grants.last().copied() else { return };
        let window = window_us(&self.spec);
        let mut sum: u128 = 0;

        for (at, _, units) in self.grants.iter().rev() {
            sum += u128::from(*units);
            let most = match self.spec.kind {
                Kind::Concurrency => return,
                Kind::Window if now - at >= window => return,
                Kind::Window => u128::from(self.spec.quota) * u128::from(window),
                Kind::Bucket => {
                    u128::from(capacity(&self.spec)) * u128::from(window)
                        + u128::from(self.spec.quota) * u128::from(now - at)
                }
            };
            assert!(
                sum * u128::from(window) <= most,
                "{sum} were granted from {at} to {now} under {:?}",
                self.spec
            );
        }
    }

    /// Takes a new spec and carries over what is in use.
    pub fn respec(&mut self, spec: Limit, now: u64) {
        let old = std::mem::replace(&mut self.spec, spec);
        self.grants.clear();
        let new = self.spec.clone();
        let quota = Happened::Quota { quota: new.quota };
        let same_window = old.window_ms == new.window_ms;
        let before = Self { spec: old.clone(), ..self.clone() };

        let carried = match (old.kind, new.kind) {
            (Kind::Bucket, Kind::Bucket) | (Kind::Window, Kind::Window) if same_window => {
                self.history.push((now, quota));
                return;
            }
            (Kind::Concurrency, Kind::Concurrency) => return,
            (Kind::Bucket, Kind::Bucket) => {
                let scaled = before.backlog(now) * u128::from(window_us(&new));
                vec![(
                    now,
                    Happened::Carry { scaled: scaled.div_ceil(u128::from(window_us(&old))) },
                )]
            }
            (Kind::Window, Kind::Window) => {
                let width = window_us(&old).div_ceil(64);
                let latest = |at: u64| ((at / width) * width + width - 1).min(now);
                let counting = before.counting(now).into_iter();
                counting
                    .map(|(at, _, units)| (latest(at), Happened::Charge { lease: None, units }))
                    .collect()
            }
            (Kind::Window, Kind::Bucket) | (Kind::Bucket, Kind::Window) => {
                vec![(now, Happened::Charge { lease: None, units: before.used(0, now) })]
            }
            (Kind::Concurrency, _) | (_, Kind::Concurrency) => Vec::new(),
        };

        self.era += 1;
        self.history = vec![(now, quota)];
        self.history.extend(carried);
        self.history.sort_by_key(|(at, _)| *at);
    }
}

/// The last in the queue takes its own out. For any other the queue moves up, as if it had drained.
fn give_back(queue: &mut Vec<(Option<usize>, u128)>, lease: usize, scaled: u128) {
    match queue.iter_mut().rev().find(|(_, left)| *left > 0) {
        Some((of, left)) if *of == Some(lease) => *left -= scaled,
        _ => drain(queue, scaled),
    }
}

fn drain(queue: &mut Vec<(Option<usize>, u128)>, mut scaled: u128) {
    while scaled > 0 && !queue.is_empty() {
        let gone = queue[0].1.min(scaled);
        queue[0].1 -= gone;
        scaled -= gone;
        if queue[0].1 == 0 {
            queue.remove(0);
        }
    }
}
