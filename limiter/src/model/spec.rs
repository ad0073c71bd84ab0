//! What a user says about a resource: its limits, its queue and its leases, with defaults and
//! rules.
//!
//! A [`LimitDraft`] is a limit as it was written, with holes; [`LimitDraft::finish`] fills the
//! holes and is the one place that decides what a valid limit is. A replacement, a patch and a file
//! all pass through it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::model::name::LimitName;
use crate::model::numbers::Bounds;

/// A resource as its user wrote it, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSpec {
    /// 1 to 16 limits. An acquire is charged to all of them, or to none.
    pub limits: BTreeMap<LimitName, LimitSpec>,
    /// The bounds of its queue.
    pub queue: QueueSpec,
    /// The times of its leases.
    pub lease: LeaseSpec,
}

/// One limit, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitSpec {
    /// What is limited, and how.
    pub rule: Rule,
    /// What an acquire costs under it.
    pub cost: Cost,
    /// Which corrections a release may make.
    pub true_up: TrueUp,
}

/// What a limit limits, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// At most `burst + quota * (t2 - t1) / window` in any interval.
    TokenBucket {
        /// Units that flow back in one window, 1 to 2^53.
        quota: u64,
        /// 1 ms to 31 days.
        window_ms: u64,
        /// Units that a full bucket holds, 1 to 2^53; `None` follows the quota.
        burst: Option<u64>,
    },
    /// At most `quota` in any window.
    SlidingWindow {
        /// Units in a window, 1 to 2^53.
        quota: u64,
        /// 1 ms to 31 days.
        window_ms: u64,
    },
    /// At most `quota` held at once.
    Concurrency {
        /// Units held at once, 1 to 2^53.
        quota: u64,
    },
}

impl Rule {
    /// The quota.
    #[must_use]
    pub fn quota(&self) -> u64 {
        match *self {
            Self::TokenBucket { quota, .. }
            | Self::SlidingWindow { quota, .. }
            | Self::Concurrency { quota } => quota,
        }
    }

    /// The window in milliseconds, for a rate.
    #[must_use]
    pub fn window_ms(&self) -> Option<u64> {
        match *self {
            Self::TokenBucket { window_ms, .. } | Self::SlidingWindow { window_ms, .. } => {
                Some(window_ms)
            }
            Self::Concurrency { .. } => None,
        }
    }

    /// The largest cost that can ever fit: the burst of a token bucket, otherwise the quota.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        match *self {
            Self::TokenBucket { quota, burst, .. } => burst.unwrap_or(quota),
            Self::SlidingWindow { quota, .. } | Self::Concurrency { quota } => quota,
        }
    }

    /// True for the kinds that count admissions over time.
    #[must_use]
    pub fn is_rate(&self) -> bool {
        self.window_ms().is_some()
    }
}

/// What an acquire costs under a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cost {
    /// Each acquire costs 1. The default of concurrency.
    One,
    /// Each acquire costs its scalar load. The default of rates.
    Load,
    /// Each acquire costs this dimension of its load map.
    Dimension(LimitName),
}

/// Which corrections a release with `used` may make to a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrueUp {
    /// Less than charged is given back, more is charged as debt.
    #[default]
    Both,
    /// Only more is charged; nothing is given back.
    DebitOnly,
    /// The charge stands.
    None,
}

/// The bounds of a queue. Its stored form is in `model/forms.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSpec {
    /// Leases that may wait at once, 0 to 1,000,000.
    pub max_waiting: u32,
    /// Longest wait, 0 ms to 31 days.
    pub max_wait_ms: u64,
    /// Within this time a lease that was granted while its caller was away must be claimed, 0 to
    /// 60,000 ms. With 0 it is passed over while its caller is away.
    pub claim_ms: u64,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self { max_waiting: 10_000, max_wait_ms: 60_000, claim_ms: caps::CLAIM_MS_DEFAULT }
    }
}

/// The times of the leases of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseSpec {
    /// Time to live of a lease that asks for none, 1 ms to `max_ttl_ms`.
    pub default_ttl_ms: u64,
    /// Longest time to live, 1 ms to 31 days.
    pub max_ttl_ms: u64,
}

impl Default for LeaseSpec {
    fn default() -> Self {
        Self { default_ttl_ms: 60_000, max_ttl_ms: 900_000 }
    }
}

/// What a limit limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Admissions over time.
    Rate,
    /// Cost held at once.
    Concurrency,
}

/// How a rate is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Exact over every window. The default.
    #[default]
    SlidingWindow,
    /// Refilled continuously, with a burst.
    TokenBucket,
}

/// A limit as it was written: what is absent takes its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitDraft {
    /// Required.
    pub kind: Option<Kind>,
    /// For rates; sliding window when absent.
    pub algorithm: Option<Algorithm>,
    /// Required.
    pub quota: Option<u64>,
    /// Required for rates.
    pub window_ms: Option<u64>,
    /// For token buckets; follows the quota when absent.
    pub burst: Option<u64>,
    /// `load` for rates and `one` for concurrency when absent.
    pub cost: Option<Cost>,
    /// For rates; both when absent.
    pub true_up: Option<TrueUp>,
}

/// Why a resource is invalid: the field, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field} {allowed}")]
pub struct InvalidResource {
    /// The field, as a path: `limits.tpm.quota`.
    pub field: String,
    /// What is allowed there.
    pub allowed: String,
}

impl InvalidResource {
    /// Names a field and what is allowed there.
    #[must_use]
    pub fn new(field: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { field: field.into(), allowed: allowed.into() }
    }
}

impl From<&LimitSpec> for LimitDraft {
    fn from(spec: &LimitSpec) -> Self {
        let mut draft = Self {
            kind: Some(Kind::Rate),
            quota: Some(spec.rule.quota()),
            window_ms: spec.rule.window_ms(),
            cost: Some(spec.cost.clone()),
            true_up: Some(spec.true_up),
            ..Self::default()
        };

        match spec.rule {
            Rule::TokenBucket { burst, .. } => {
                draft.algorithm = Some(Algorithm::TokenBucket);
                draft.burst = burst;
            }
            Rule::SlidingWindow { .. } => draft.algorithm = Some(Algorithm::SlidingWindow),
            Rule::Concurrency { .. } => {
                draft.kind = Some(Kind::Concurrency);
                draft.true_up = None;
            }
        }

        draft
    }
}

impl LimitDraft {
    /// Fills in the defaults and checks the whole.
    ///
    /// # Errors
    /// [`InvalidResource`] names the field and what is allowed there.
    pub fn finish(self, name: &LimitName) -> Result<LimitSpec, InvalidResource> {
        let bad = |field: &str, allowed: &str| {
            InvalidResource::new(format!("limits.{name}.{field}"), allowed)
        };

        let amount = |value: u64, field: &str| {
            if Bounds::QUOTA.contains(value) {
                Ok(value)
            } else {
                Err(bad(field, &must_be(Bounds::QUOTA)))
            }
        };

        let kind = self.kind.ok_or_else(|| bad("kind", "is required: rate or concurrency"))?;
        let required = || bad("quota", &format!("is required: {}", Bounds::QUOTA));
        let quota = amount(self.quota.ok_or_else(required)?, "quota")?;

        let rule = match kind {
            Kind::Rate => {
                let window_ms =
                    self.window_ms.ok_or_else(|| bad("window_ms", "is required for a rate"))?;
                if !Bounds::DURATION_MS.contains(window_ms) {
                    return Err(bad("window_ms", &must_be(Bounds::DURATION_MS)));
                }
                let burst = self.burst.map(|burst| amount(burst, "burst")).transpose()?;
                match self.algorithm.unwrap_or_default() {
                    Algorithm::TokenBucket => Rule::TokenBucket { quota, window_ms, burst },
                    Algorithm::SlidingWindow if burst.is_some() => {
                        return Err(bad("burst", "is only for the algorithm token_bucket"));
                    }
                    Algorithm::SlidingWindow => Rule::SlidingWindow { quota, window_ms },
                }
            }
            Kind::Concurrency => {
                for (absent, field) in [
                    (self.algorithm.is_none(), "algorithm"),
                    (self.window_ms.is_none(), "window_ms"),
                    (self.burst.is_none(), "burst"),
                    (self.true_up.is_none(), "true_up"),
                ] {
                    if !absent {
                        return Err(bad(field, "is only for limits of kind rate"));
                    }
                }
                Rule::Concurrency { quota }
            }
        };

        let cost = self.cost.unwrap_or(if rule.is_rate() { Cost::Load } else { Cost::One });
        Ok(LimitSpec { rule, cost, true_up: self.true_up.unwrap_or_default() })
    }
}

impl ResourceSpec {
    /// Makes a resource of drafts and checks the whole.
    ///
    /// # Errors
    /// [`InvalidResource`] names the field and what is allowed there.
    pub fn new(
        limits: BTreeMap<LimitName, LimitDraft>,
        queue: QueueSpec,
        lease: LeaseSpec,
    ) -> Result<Self, InvalidResource> {
        let limits = limits
            .into_iter()
            .map(|(name, draft)| draft.finish(&name).map(|spec| (name, spec)))
            .collect::<Result<_, _>>()?;
        let spec = Self { limits, queue, lease };
        spec.validate()?;
        Ok(spec)
    }

    /// Checks what concerns the resource as a whole; its limits are valid by construction.
    ///
    /// # Errors
    /// [`InvalidResource`] names the field and what is allowed there.
    pub fn validate(&self) -> Result<(), InvalidResource> {
        if !Bounds::LIMITS.contains(self.limits.len() as u64) {
            return Err(InvalidResource::new(
                "limits",
                format!("must have {} limits", Bounds::LIMITS),
            ));
        }

        for (field, number, bounds) in [
            ("queue.max_waiting", u64::from(self.queue.max_waiting), Bounds::MAX_WAITING),
            ("queue.max_wait_ms", self.queue.max_wait_ms, Bounds::WAIT_MS),
            ("queue.claim_ms", self.queue.claim_ms, Bounds::CLAIM_MS),
            ("lease.max_ttl_ms", self.lease.max_ttl_ms, Bounds::DURATION_MS),
        ] {
            if !bounds.contains(number) {
                return Err(InvalidResource::new(field, must_be(bounds)));
            }
        }

        if !(1..=self.lease.max_ttl_ms).contains(&self.lease.default_ttl_ms) {
            return Err(InvalidResource::new(
                "lease.default_ttl_ms",
                "must be 1 to lease.max_ttl_ms",
            ));
        }

        Ok(())
    }
}

fn must_be(bounds: Bounds) -> String {
    format!("must be {bounds}")
}
