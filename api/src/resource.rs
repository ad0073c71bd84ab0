//! What a resource is, and how it is changed.

use std::collections::BTreeMap;

use ratequeue_limiter::caps::{CLAIM_MS_MAX, DURATION_MS_MAX, LOAD_MAX, MAX_WAITING_MAX};
use ratequeue_limiter::{LeaseSpec, QueueSpec};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::number::{bounded, optional, patched};
use crate::object;

/// A resource as its user writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The region it lives in, or `global`. The region of the node that is asked when absent.
    /// Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// 1 to 16 limits by name: `[a-z][a-z0-9_]{0,31}`. `one`, `load`, `line` and `queue` are
    /// reserved.
    #[serde(deserialize_with = "object::map")]
    pub limits: BTreeMap<String, Limit>,
    /// The bounds of its queue.
    #[serde(default, deserialize_with = "object::object")]
    pub queue: Queue,
    /// The times of its leases.
    #[serde(default, deserialize_with = "object::object")]
    pub lease: LeaseTimes,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is limited.
    pub kind: Kind,
    /// How a rate is counted: `sliding_window` when absent. For rates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Units in a window, or held at once.
    #[serde(deserialize_with = "bounded::<_, 1, LOAD_MAX>")]
    #[schema(minimum = 1, maximum = 9007199254740992u64)]
    pub quota: u64,
    /// Milliseconds, at most 31 days. Required for rates, and for rates only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, 1, DURATION_MS_MAX>"
    )]
    #[schema(minimum = 1, maximum = 2678400000u64)]
    pub window_ms: Option<u64>,
    /// Units that a full token bucket holds; follows the quota when absent. For token buckets
    /// only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, 1, LOAD_MAX>"
    )]
    #[schema(minimum = 1, maximum = 9007199254740992u64)]
    pub burst: Option<u64>,
    /// What an acquire costs: `one`, `load`, or the name of a dimension. `load` for rates and
    /// `one` for concurrency when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Which corrections a release with `used` makes: `both` when absent. For rates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_up: Option<TrueUp>,
}

/// What a limit limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Admissions over time.
    Rate,
    /// Cost held at once.
    Concurrency,
}

/// How a rate is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// At most `quota` in any window.
    SlidingWindow,
    /// At most `burst + quota * t / window` in any time `t`.
    TokenBucket,
}

/// Which corrections a release with `used` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrueUp {
    /// Less than charged is given back, more is charged as debt.
    Both,
    /// Only more is charged.
    DebitOnly,
    /// The charge stands.
    None,
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Leases that may wait at once.
    #[serde(deserialize_with = "bounded::<_, 0, { MAX_WAITING_MAX as u64 }>")]
    #[schema(minimum = 0, maximum = 1000000)]
    pub max_waiting: u64,
    /// Longest wait in milliseconds.
    #[serde(deserialize_with = "bounded::<_, 0, DURATION_MS_MAX>")]
    #[schema(minimum = 0, maximum = 2678400000u64)]
    pub max_wait_ms: u64,
    /// Within this time a lease that was granted while its caller was away must be claimed, in
    /// milliseconds; with 0 it is passed over while its caller is away.
    #[serde(deserialize_with = "bounded::<_, 0, CLAIM_MS_MAX>")]
    #[schema(minimum = 0, maximum = 60000)]
    pub claim_ms: u64,
}

impl Default for Queue {
    fn default() -> Self {
        let spec = QueueSpec::default();
        Self {
            max_waiting: u64::from(spec.max_waiting),
            max_wait_ms: spec.max_wait_ms,
            claim_ms: spec.claim_ms,
        }
    }
}

/// The times of the leases of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseTimes {
    /// Time to live of a lease that asks for none, in milliseconds.
    #[serde(deserialize_with = "bounded::<_, 1, DURATION_MS_MAX>")]
    #[schema(minimum = 1, maximum = 2678400000u64)]
    pub default_ttl_ms: u64,
    /// Longest time to live, in milliseconds.
    #[serde(deserialize_with = "bounded::<_, 1, DURATION_MS_MAX>")]
    #[schema(minimum = 1, maximum = 2678400000u64)]
    pub max_ttl_ms: u64,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        let spec = LeaseSpec::default();
        Self { default_ttl_ms: spec.default_ttl_ms, max_ttl_ms: spec.max_ttl_ms }
    }
}

/// A resource as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceView {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub placement: String,
    /// Its limits, with every default filled in.
    pub limits: BTreeMap<String, Limit>,
    /// The bounds of its queue.
    pub queue: Queue,
    /// The times of its leases.
    pub lease: LeaseTimes,
    /// 1, 2, ... in the order of its changes.
    pub version: u64,
    /// The log index from which this version is in effect.
    pub effective_index: u64,
}

/// A change of a resource: a JSON merge patch (RFC 7396). What is absent stays, `null` goes back to
/// its default, and a limit that is `null` is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourcePatch {
    /// Cannot be changed; naming the placement it has is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Limits to change, make, or remove with `null`.
    #[serde(deserialize_with = "object::patched_map")]
    #[schema(value_type = BTreeMap<String, LimitPatch>)]
    pub limits: BTreeMap<String, Option<LimitPatch>>,
    /// The bounds of its queue.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object::patched")]
    #[schema(value_type = Option<QueuePatch>)]
    pub queue: Option<Option<QueuePatch>>,
    /// The times of its leases.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object::patched")]
    #[schema(value_type = Option<LeaseTimesPatch>)]
    pub lease: Option<Option<LeaseTimesPatch>>,
}

/// A change of one limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitPatch {
    /// As in a limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Kind>)]
    pub kind: Option<Option<Kind>>,
    /// As in a limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Algorithm>)]
    pub algorithm: Option<Option<Algorithm>>,
    /// As in a limit.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 1, LOAD_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 9007199254740992u64)]
    pub quota: Option<Option<u64>>,
    /// As in a limit.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 1, DURATION_MS_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 2678400000u64)]
    pub window_ms: Option<Option<u64>>,
    /// As in a limit.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 1, LOAD_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 9007199254740992u64)]
    pub burst: Option<Option<u64>>,
    /// As in a limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub cost: Option<Option<String>>,
    /// As in a limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<TrueUp>)]
    pub true_up: Option<Option<TrueUp>>,
}

/// A change of a queue's bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueuePatch {
    /// As in the queue.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 0, { MAX_WAITING_MAX as u64 }>"
    )]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 1000000)]
    pub max_waiting: Option<Option<u64>>,
    /// As in the queue.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 0, DURATION_MS_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 2678400000u64)]
    pub max_wait_ms: Option<Option<u64>>,
    /// As in the queue.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 0, CLAIM_MS_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 60000)]
    pub claim_ms: Option<Option<u64>>,
}

/// A change of the leases' times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseTimesPatch {
    /// As in the lease times.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 1, DURATION_MS_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 2678400000u64)]
    pub default_ttl_ms: Option<Option<u64>>,
    /// As in the lease times.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "patched::<_, 1, DURATION_MS_MAX>"
    )]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 2678400000u64)]
    pub max_ttl_ms: Option<Option<u64>>,
}

/// Tells a field that is `null` from one that is absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// What to pass as `cursor` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
    /// Regions that could not be asked, so that their items are missing. Absent when all could.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<String>,
}
