//! Acquire, wait, release, extend.

use std::collections::BTreeMap;
use std::fmt;

use ratequeue_limiter::caps::{
    DIMENSIONS_PER_LOAD_MAX, DURATION_MS_MAX, LOAD_MAX, METADATA_BYTES_MAX, METADATA_PAIRS_MAX,
    PRIORITY_DEFAULT, PRIORITY_MAX,
};
use ratequeue_limiter::{LimitName, Metadata};
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caps::{HOLD_MS_DEFAULT, HOLD_MS_MAX};
use crate::number::{bounded, optional};
use crate::object::unique;

/// Asks for a lease. An empty body asks for a load of 1 without waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcquireRequest {
    /// How much it weighs: 1 when absent.
    pub load: Load,
    /// How long to wait in the queue, in milliseconds; 0 is not at all. At most the resource's
    /// `max_wait_ms` counts.
    #[serde(deserialize_with = "bounded::<_, 0, DURATION_MS_MAX>")]
    #[schema(minimum = 0, maximum = 2678400000u64)]
    pub wait_ms: u64,
    /// How long the server holds this call open while the lease waits, in milliseconds: 20000 when
    /// absent.
    #[serde(deserialize_with = "bounded::<_, 0, HOLD_MS_MAX>")]
    #[schema(minimum = 0, maximum = 30000)]
    pub hold_ms: u64,
    /// 0 (first) to 9 (last).
    #[serde(deserialize_with = "bounded::<_, 0, { PRIORITY_MAX as u64 }>")]
    #[schema(minimum = 0, maximum = 9)]
    pub priority: u64,
    /// Time to live once held, in milliseconds; the resource's default when absent, lowered to its
    /// maximum.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, 1, DURATION_MS_MAX>"
    )]
    #[schema(minimum = 1, maximum = 2678400000u64)]
    pub ttl_ms: Option<u64>,
    /// Strings to see again with the lease: at most 16 pairs and 1 KiB.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "metadata")]
    pub metadata: BTreeMap<String, String>,
}

impl Default for AcquireRequest {
    fn default() -> Self {
        Self {
            load: Load::One(1),
            wait_ms: 0,
            hold_ms: HOLD_MS_DEFAULT,
            priority: u64::from(PRIORITY_DEFAULT),
            ttl_ms: None,
            metadata: BTreeMap::new(),
        }
    }
}

fn metadata<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    match Metadata::new(unique(d)?) {
        Ok(metadata) => Ok(metadata.into()),
        Err(_) => {
            let allowed = format!(
                "at most {METADATA_PAIRS_MAX} pairs of strings and {METADATA_BYTES_MAX} bytes in all"
            );
            Err(D::Error::custom(format!("too much metadata, expected {allowed}")))
        }
    }
}

/// How much an acquire weighs: a whole number from 0 to 2^53, or one for each dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Load {
    /// One number.
    One(u64),
    /// A number for each dimension; their sum is the scalar load.
    Map(BTreeMap<String, u64>),
}

impl<'de> Deserialize<'de> for Load {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(LoadVisitor)
    }
}

struct LoadVisitor;

impl<'de> Visitor<'de> for LoadVisitor {
    type Value = Load;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a whole number from 0 to {LOAD_MAX}, or an object of dimensions with such numbers"
        )
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Load, E> {
        if n <= LOAD_MAX {
            Ok(Load::One(n))
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(n), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Load, A::Error> {
        let mut map = BTreeMap::new();
        let mut sum = 0u64;
        while let Some(name) = access.next_key::<String>()? {
            LimitName::new(&name).map_err(A::Error::custom)?;
            let n = match access.next_value::<Load>()? {
                Load::One(n) => n,
                Load::Map(_) => {
                    return Err(A::Error::invalid_type(Unexpected::Map, &"a whole number"));
                }
            };
            sum = sum.saturating_add(n);
            if map.insert(name.clone(), n).is_some() {
                return Err(A::Error::custom(format!("the dimension {name} is there twice")));
            }
            if map.len() > DIMENSIONS_PER_LOAD_MAX || sum > LOAD_MAX {
                let allowed = format!(
                    "at most {DIMENSIONS_PER_LOAD_MAX} dimensions, and a sum of at most {LOAD_MAX}"
                );
                return Err(A::Error::custom(format!("too large a load, expected {allowed}")));
            }
        }

        Ok(Load::Map(map))
    }
}

/// Gives a lease back. An empty body leaves its charge as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleaseRequest {
    /// What was really used. Less than charged is given back, more is charged as debt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Load>,
}

/// Gives a held lease a new deadline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtendRequest {
    /// From now, in milliseconds; the resource's default when absent, lowered to its maximum.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, 1, DURATION_MS_MAX>"
    )]
    #[schema(minimum = 1, maximum = 2678400000u64)]
    pub ttl_ms: Option<u64>,
}

/// Where in its life a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// In the queue.
    Waiting,
    /// Granted, and not past its deadline.
    Held,
    /// Given back by its holder.
    Released,
    /// Not given back before its deadline.
    Expired,
    /// Given up while it waited.
    Cancelled,
    /// Not granted within its time to wait.
    TimedOut,
    /// Ended by the server while it waited.
    Rejected,
    /// Granted while its caller was away, and not claimed in time.
    Lapsed,
}

/// A lease. Which fields it has depends on its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Its id, the same for its whole life.
    pub id: String,
    /// Its resource.
    pub resource: String,
    /// Where in its life it is.
    pub state: LeaseState,
    /// Held, or ended after it was held: higher than that of every earlier grant of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<u64>,
    /// Held: what each limit was charged, without zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<BTreeMap<String, u64>>,
    /// Held: until it expires, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Held: how long it waited in the queue, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// Held: the log index at which it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
    /// Waiting: its place in the queue, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Waiting: the loads of the leases before it, summed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ahead: Option<u64>,
    /// Waiting: when its turn may come, in milliseconds: an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Ended: the log index at which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_index: Option<u64>,
    /// In a view of the lease: what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// In a view of the lease: 0 (first) to 9 (last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u64>,
    /// In a view of the lease: the strings that came with the acquire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The answer to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Released {
    /// Which lease.
    pub id: String,
    /// `released`, or `cancelled` when it was still in the queue.
    pub state: LeaseState,
    /// Given back to each limit, without zeros.
    pub refunded: BTreeMap<String, u64>,
    /// Charged on top to each limit, without zeros.
    pub debited: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> serde_json::Result<AcquireRequest> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_empty_body_has_the_defaults() {
        let request = read("{}").unwrap();
        assert_eq!(request, AcquireRequest::default());
        assert_eq!(request.hold_ms, 20_000);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, part) in [
            (r#"{"load":-1}"#, "0 to 9007199254740992"),
            (r#"{"load":1.5}"#, "0 to 9007199254740992"),
            (r#"{"load":"1"}"#, "0 to 9007199254740992"),
            (r#"{"load":9007199254740993}"#, "0 to 9007199254740992"),
            (r#"{"load":{"a":-1}}"#, "0 to 9007199254740992"),
            (r#"{"load":{"a":{"b":1}}}"#, "a whole number"),
            (r#"{"load":{"A":1}}"#, "dimension name"),
            (r#"{"load":{"a":1,"a":2}}"#, "twice"),
            (r#"{"load":{"a":9007199254740992,"b":1}}"#, "a sum of at most"),
            (r#"{"wait_ms":2678400001}"#, "0 to 2678400000"),
            (r#"{"hold_ms":30001}"#, "0 to 30000"),
            (r#"{"priority":10}"#, "0 to 9"),
            (r#"{"ttl_ms":0}"#, "1 to 2678400000"),
            (r#"{"waitms":1}"#, "unknown field `waitms`"),
            (r#"{"metadata":{"a":1}}"#, "string"),
        ] {
            match read(json) {
                Err(error) => assert!(error.to_string().contains(part), "{json}: {error}"),
                Ok(_) => panic!("{json} was read"),
            }
        }
    }
}
