//! One limit of a resource: its rule, and what is in use under it.

mod bucket;
mod window;

use serde::{Deserialize, Serialize};

use crate::limit::bucket::{Bucket, BucketRates};
use crate::limit::window::{Window, WindowRates};
use crate::model::level::Level;
use crate::model::load::Load;
use crate::model::name::LimitName;
use crate::model::outcome::LimitUsage;
use crate::model::spec::{Cost, LimitSpec, Rule, TrueUp};
use crate::model::time::{LogTime, us};

/// A limit with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub name: LimitName,
    /// Never used twice in a resource: a limit that is removed and made again is another one.
    pub id: u32,
    /// Rises when older marks lose their meaning.
    pub epoch: u32,
    pub spec: LimitSpec,
    pub usage: Usage,
}

/// What is in use under a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Usage {
    Bucket(Bucket),
    Window(Window),
    Concurrency(u64),
}

/// What one lease was charged under one rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub limit: LimitName,
    pub id: u32,
    pub epoch: u32,
    pub amount: u64,
    /// Where the charge lies in its limit's state; zero for concurrency.
    pub mark: u128,
}

/// When a cost fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// From this instant on, which may lie in the past, if nothing else is charged.
    At(LogTime),
    /// Only when somebody releases.
    OnRelease,
}

fn bucket_rates(rule: Rule) -> BucketRates {
    BucketRates {
        quota: rule.quota(),
        window_us: us(rule.window_ms().unwrap_or(1)),
        burst: rule.capacity(),
    }
}

fn window_rates(rule: Rule) -> WindowRates {
    WindowRates { quota: rule.quota(), window_us: us(rule.window_ms().unwrap_or(1)) }
}

impl Usage {
    fn empty(rule: Rule, now: LogTime) -> Self {
        match rule {
            Rule::TokenBucket { .. } => Self::Bucket(Bucket::holding(bucket_rates(rule), 0, now)),
            Rule::SlidingWindow { .. } => Self::Window(Window::default()),
            Rule::Concurrency { .. } => Self::Concurrency(0),
        }
    }

    fn used(&self, rule: Rule, now: LogTime) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.used(bucket_rates(rule), now),
            Self::Window(window) => window.used(window_rates(rule), now),
            Self::Concurrency(used) => *used,
        }
    }
}

impl Limit {
    /// A limit under which nothing is in use. `held` sums what the held leases cost under it, if it
    /// is concurrency.
    pub fn new(
        name: LimitName,
        id: u32,
        spec: LimitSpec,
        now: LogTime,
        held: impl FnOnce(&Cost) -> u64,
    ) -> Self {
        let usage = match spec.rule {
            Rule::Concurrency { .. } => Usage::Concurrency(held(&spec.cost)),
            Rule::TokenBucket { .. } | Rule::SlidingWindow { .. } => Usage::empty(spec.rule, now),
        };
        Self { name, id, epoch: 0, spec, usage }
    }

    pub fn cost(&self, load: &Load) -> u64 {
        load.cost(&self.spec.cost)
    }

    /// What must be free for a load to be granted: its cost. A load that is given as 0 is not
    /// charged, and gated all the same: one unit must be free, which is never the case while
    /// something is owed.
    pub fn needed(&self, load: &Load, level: Level) -> u64 {
        let cost = self.cost(load);
        if cost == 0 && level.gates_empty_loads() && load.mentions(&self.spec.cost) {
            1
        } else {
            cost
        }
    }

    /// True when so much is free now. Nothing is free in any case.
    pub fn fits(&self, cost: u64, now: LogTime) -> bool {
        cost == 0
            || match &self.usage {
                Usage::Bucket(bucket) => bucket.fits(bucket_rates(self.spec.rule), cost, now),
                Usage::Window(window) => window.fits(window_rates(self.spec.rule), cost, now),
                Usage::Concurrency(used) => used.saturating_add(cost) <= self.spec.rule.quota(),
            }
    }

    /// When `cost`, at most the capacity, fits.
    pub fn fit(&self, cost: u64) -> Fit {
        if cost == 0 {
            return Fit::At(LogTime(0));
        }
        match &self.usage {
            Usage::Bucket(bucket) => Fit::At(bucket.fits_at(bucket_rates(self.spec.rule), cost)),
            Usage::Window(window) => Fit::At(window.fits_at(window_rates(self.spec.rule), cost)),
            Usage::Concurrency(used) if used.saturating_add(cost) <= self.spec.rule.quota() => {
                Fit::At(LogTime(0))
            }
            Usage::Concurrency(_) => Fit::OnRelease,
        }
    }

    /// About how many microseconds it takes until `amount` more has fit; `None` when only a release
    /// tells.
    pub fn fits_in_us(&self, amount: u128, now: LogTime) -> Option<u64> {
        match &self.usage {
            Usage::Bucket(bucket) => {
                Some(bucket.fits_in_us(bucket_rates(self.spec.rule), amount, now))
            }
            Usage::Window(window) => {
                Some(window.fits_in_us(window_rates(self.spec.rule), amount, now))
            }
            Usage::Concurrency(used) => (u128::from(*used).saturating_add(amount)
                <= u128::from(self.spec.rule.quota()))
            .then_some(0),
        }
    }

    pub fn charge(&mut self, amount: u64, now: LogTime) -> Charge {
        let rule = self.spec.rule;
        let mark = match &mut self.usage {
            Usage::Bucket(bucket) => bucket.charge(bucket_rates(rule), amount, now),
            Usage::Window(window) => window.charge(window_rates(rule), amount, now),
            Usage::Concurrency(used) => {
                *used = used.saturating_add(amount);
                0
            }
        };
        Charge { limit: self.name.clone(), id: self.id, epoch: self.epoch, amount, mark }
    }

    /// Gives back all of a charge that is still counted, since nothing was done for it; returns how
    /// much.
    pub fn give_back(&mut self, charge: &Charge, now: LogTime) -> u64 {
        if charge.epoch != self.epoch {
            return 0;
        }
        let rule = self.spec.rule;
        match &mut self.usage {
            Usage::Bucket(b) => {
                b.refund(bucket_rates(rule), charge.amount, charge.mark, charge.amount, now)
            }
            Usage::Window(w) => w.refund(window_rates(rule), charge.mark, charge.amount, now),
            Usage::Concurrency(_) => 0,
        }
    }

    /// Frees the concurrency that a held lease of this load holds. Rates are left alone.
    pub fn free(&mut self, load: &Load) {
        let cost = self.cost(load);
        if let Usage::Concurrency(used) = &mut self.usage {
            *used = used.saturating_sub(cost);
        }
    }

    /// What `used` says was really used under this limit; `None` when it says nothing about it.
    pub fn really_used(&self, used: &Load) -> Option<u64> {
        if !self.spec.rule.is_rate() {
            return None;
        }
        match (&self.spec.cost, used) {
            (Cost::One, _) | (Cost::Dimension(_), Load::Scalar(_)) => None,
            (Cost::Load, _) | (Cost::Dimension(_), Load::Map(_)) => Some(self.cost(used)),
        }
    }

    /// Corrects a charge to what was really used. Returns what was given back and what was charged
    /// on top.
    pub fn true_up(&mut self, charge: &Charge, really: u64, now: LogTime) -> (u64, u64) {
        let (rule, policy) = (self.spec.rule, self.spec.true_up);
        let less = charge.amount.saturating_sub(really);
        let more = really.saturating_sub(charge.amount);

        if less > 0 && policy == TrueUp::Both && charge.epoch == self.epoch {
            let back = match &mut self.usage {
                Usage::Bucket(b) => {
                    b.refund(bucket_rates(rule), charge.amount, charge.mark, less, now)
                }
                Usage::Window(w) => w.refund(window_rates(rule), charge.mark, less, now),
                Usage::Concurrency(_) => 0,
            };
            return (back, 0);
        }

        if more > 0 && policy != TrueUp::None {
            let owed = match &mut self.usage {
                Usage::Bucket(bucket) => bucket.debit(bucket_rates(rule), more, now),
                Usage::Window(window) => window.debit(window_rates(rule), more, now),
                Usage::Concurrency(_) => 0,
            };
            return (0, owed);
        }

        (0, 0)
    }

    /// Takes a new spec. What is in use carries over: a change never forgives and never doubles it.
    /// `held` sums what the held leases cost under the new spec, when that is asked for: by a
    /// limit that becomes concurrency, or counts anew.
    pub fn respec(&mut self, spec: LimitSpec, now: LogTime, held: impl FnOnce(&Cost) -> u64) {
        let (old, new) = (self.spec.rule, spec.rule);
        if let Usage::Bucket(bucket) = &mut self.usage {
            bucket.drain(bucket_rates(old), now);
        }

        let windows_differ = old.window_ms() != new.window_ms();
        let usage = match (&self.usage, new) {
            (Usage::Bucket(_), Rule::TokenBucket { .. }) if !windows_differ => None,
            (Usage::Bucket(bucket), Rule::TokenBucket { .. }) => Some(Usage::Bucket(
                bucket.rescaled(bucket_rates(old).window_us, bucket_rates(new).window_us, now),
            )),
            (Usage::Window(_), Rule::SlidingWindow { .. }) if !windows_differ => None,
            (Usage::Window(window), Rule::SlidingWindow { .. }) => {
                Some(Usage::Window(window.rescaled(window_rates(old), window_rates(new), now)))
            }
            (Usage::Window(_), Rule::TokenBucket { .. }) => {
                let used = self.usage.used(old, now);
                Some(Usage::Bucket(Bucket::holding(bucket_rates(new), used, now)))
            }
            (Usage::Bucket(_), Rule::SlidingWindow { .. }) => {
                let used = self.usage.used(old, now);
                Some(Usage::Window(Window::holding(window_rates(new), used, now)))
            }
            (Usage::Concurrency(_), Rule::TokenBucket { .. } | Rule::SlidingWindow { .. }) => {
                Some(Usage::empty(new, now))
            }
            (Usage::Concurrency(_), Rule::Concurrency { .. }) if self.spec.cost == spec.cost => {
                None
            }
            (_, Rule::Concurrency { .. }) => Some(Usage::Concurrency(held(&spec.cost))),
        };

        if let Some(usage) = usage {
            self.usage = usage;
            self.epoch = self.epoch.wrapping_add(1);
        }

        self.spec = spec;
    }

    pub fn view(&self, now: LogTime) -> LimitUsage {
        let rule = self.spec.rule;
        let used = self.usage.used(rule, now);
        let next_us = match &self.usage {
            Usage::Bucket(bucket) => bucket.next_unit_in_us(bucket_rates(rule), now),
            Usage::Window(window) => window.next_unit_in_us(window_rates(rule), now),
            Usage::Concurrency(_) => None,
        };

        LimitUsage {
            name: self.name.clone(),
            capacity: rule.capacity(),
            quota: rule.quota(),
            window_ms: rule.window_ms(),
            used,
            remaining: rule.capacity().saturating_sub(used),
            next_in_ms: next_us.map(|us| us.div_ceil(1000)),
        }
    }
}
