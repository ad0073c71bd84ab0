//! One limit, counted from what was granted and given back.
//!
//! ```text
//!   concurrency      the sum of what is held
//!   sliding_window   the charges of the last window, summed up at every grant
//!   token_bucket     what was admitted beyond the refill: e = max(0, e - quota * t / window) + charge
//! ```
//! The third is the worst case over all intervals that end now, so that one number stands for all
//! of them. A refund is taken off it, and must be in it, unless the limit was changed: what has
//! drained has already made room for others. Only grants are judged: debts, and quotas that were lowered, may exceed a bound.

use std::collections::VecDeque;

use ratequeue_limiter::{LeaseId, LogTime, Rule};

/// Whether a bound held.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    Held,
    Broken(String),
}

/// The most that a limit ever admitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Most {
    pub units: u64,
    pub bound: u64,
    pub index: u64,
    pub breaches: u64,
}

/// A limit under audit.
#[derive(Debug)]
pub struct Count {
    rule: Rule,
    used: Used,
    /// It is known exactly what had drained: what was charged was counted from the beginning, and the
    /// limit was never changed.
    is_exact: bool,
    most: Most,
}

#[derive(Debug)]
enum Used {
    /// Units that are held.
    Held(u64),
    /// Charges that may lie in the current window, oldest first, and their sum.
    Window { charges: VecDeque<Charge>, sum: u64 },
    /// Units beyond the refill as of an instant, times the window in microseconds.
    Bucket { excess: u128, at: LogTime },
}

#[derive(Debug)]
struct Charge {
    at: LogTime,
    lease: LeaseId,
    units: u64,
}

impl Count {
    pub fn new(rule: Rule) -> Self {
        let most = Most { bound: rule.capacity(), ..Most::default() };
        Self { rule, used: Used::of(rule), is_exact: true, most }
    }

    /// The rule's name, as the API has it.
    pub fn rule(&self) -> &'static str {
        match self.rule {
            Rule::TokenBucket { .. } => "token_bucket",
            Rule::SlidingWindow { .. } => "sliding_window",
            Rule::Concurrency { .. } => "concurrency",
        }
    }

    pub fn most(&self) -> Most {
        self.most
    }

    /// Other bounds from now on. What was charged goes on to count where it can; a rate of another
    /// kind starts unused, and so does one whose limits had other bounds in between.
    pub fn change(&mut self, rule: Rule, at: LogTime, is_known: bool) {
        self.pass(at);
        self.is_exact &= is_known && rule == self.rule;
        let carried = is_known
            && match (&mut self.used, rule) {
                (Used::Held(_), Rule::Concurrency { .. })
                | (Used::Window { .. }, Rule::SlidingWindow { .. }) => true,
                (Used::Bucket { excess, .. }, Rule::TokenBucket { window_ms, .. }) => {
                    let before = u128::from(window_us(self.rule)).max(1);
                    *excess = *excess / before * u128::from(window_ms) * 1_000;
                    true
                }
                (Used::Held(_) | Used::Window { .. } | Used::Bucket { .. }, _) => false,
            };
        if !carried {
            self.used = Used::of(rule);
        }
        self.rule = rule;
        self.most.bound = self.most.bound.max(rule.capacity());
    }

    /// Counts on from an instant before which it is not known what was charged.
    pub fn resume(&mut self) {
        self.is_exact = false;
    }

    /// Says how much is held, when it is counted from the beginning.
    pub fn hold(&mut self, units: u64) {
        if let Used::Held(held) = &mut self.used {
            *held = units;
        }
    }

    /// Charges a grant.
    pub fn charge(
        &mut self,
        lease: LeaseId,
        units: u64,
        index: u64,
        at: LogTime,
        is_judged: bool,
    ) -> Judged {
        self.add(lease, units, at);
        let (used, bound) = (self.used_units(), self.rule.capacity());
        if used > self.most.units {
            (self.most.units, self.most.index) = (used, index);
        }
        // What costs nothing takes nothing.
        if units == 0 || !is_judged || used <= bound {
            return Judged::Held;
        }
        self.most.breaches += 1;
        Judged::Broken(format!("{used} of {bound} units after the grant of {units}"))
    }

    /// A lease is held no longer.
    pub fn release(&mut self, units: u64) {
        if let Used::Held(held) = &mut self.used {
            *held = held.saturating_sub(units);
        }
    }

    /// Takes back what a lease was charged at its grant.
    pub fn refund(&mut self, lease: LeaseId, granted: LogTime, units: u64, at: LogTime) -> Judged {
        self.pass(at);
        let window = u128::from(window_us(self.rule));

        match &mut self.used {
            Used::Held(_) => Judged::Held,
            Used::Window { charges, sum } => {
                let from = charges.partition_point(|charge| charge.at < granted);
                let found = charges.range_mut(from..).find(|charge| charge.lease == lease);
                if let Some(charge) = found {
                    let taken = units.min(charge.units);
                    charge.units -= taken;
                    *sum = sum.saturating_sub(taken);
                }
                Judged::Held
            }
            Used::Bucket { excess, .. } => {
                let refund = u128::from(units) * window;
                if refund > *excess && self.is_exact {
                    self.most.breaches += 1;
                    return Judged::Broken(format!("{units} units given back that had drained"));
                }
                *excess = excess.saturating_sub(refund);
                Judged::Held
            }
        }
    }

    /// Charges what a lease used beyond its grant.
    pub fn debit(&mut self, lease: LeaseId, units: u64, at: LogTime) {
        self.add(lease, units, at);
    }

    fn add(&mut self, lease: LeaseId, units: u64, at: LogTime) {
        self.pass(at);
        let window = u128::from(window_us(self.rule));
        match &mut self.used {
            Used::Held(held) => *held = held.saturating_add(units),
            Used::Window { charges, sum } if units > 0 => {
                charges.push_back(Charge { at, lease, units });
                *sum = sum.saturating_add(units);
            }
            Used::Window { .. } => {}
            Used::Bucket { excess, .. } => *excess += u128::from(units) * window,
        }
    }

    /// Lets time pass: what has left the window, or refilled, counts no longer.
    fn pass(&mut self, now: LogTime) {
        let window = window_us(self.rule);
        match &mut self.used {
            Used::Held(_) => {}
            Used::Window { charges, sum } => {
                while let Some(oldest) = charges.front()
                    && oldest.at.after_us(window) <= now
                {
                    *sum = sum.saturating_sub(oldest.units);
                    charges.pop_front();
                }
            }
            Used::Bucket { excess, at } => {
                let refilled = u128::from(self.rule.quota()) * u128::from(now.since_us(*at));
                *excess = excess.saturating_sub(refilled);
                *at = now.max(*at);
            }
        }
    }

    fn used_units(&self) -> u64 {
        match &self.used {
            Used::Held(units) | Used::Window { sum: units, .. } => *units,
            Used::Bucket { excess, .. } => {
                let units = excess.div_ceil(u128::from(window_us(self.rule)).max(1));
                u64::try_from(units).unwrap_or(u64::MAX)
            }
        }
    }
}

impl Used {
    fn of(rule: Rule) -> Self {
        match rule {
            Rule::Concurrency { .. } => Self::Held(0),
            Rule::SlidingWindow { .. } => Self::Window { charges: VecDeque::new(), sum: 0 },
            Rule::TokenBucket { .. } => Self::Bucket { excess: 0, at: LogTime(0) },
        }
    }
}

fn window_us(rule: Rule) -> u64 {
    rule.window_ms().unwrap_or_default().saturating_mul(1_000)
}
