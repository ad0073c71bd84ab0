//! The form in which values are stored and hashed, where it is not simply that of the type.
//!
//! The bytes of a value must not change when a type gets a field: records of before have to be read, hashes of before have to
//! be equal, and replicas of two versions have to agree. So a value that does not use the new field has the bytes that it
//! always had, and one that does says so where the old form could say nothing: by a variant that is new, or by a number that
//! is out of bounds. Each such form is here.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::command::Metadata;
use crate::load::Load;
use crate::name::{Placement, RequestId, ResourceName};
use crate::patch::{Patch, QueuePatch};
use crate::record::{Caller, Claim, Ended, Holding, LeaseRecord, Life};
use crate::spec::QueueSpec;
use crate::time::LogTime;

/// Stands where a number of waiting leases is, which is never so large: the form with a version follows.
const VERSIONED: u32 = u32::MAX;
/// The version of the form with `claim_ms`.
const WITH_CLAIM: u8 = 2;
/// Elements of the longest form.
const ELEMENTS_MAX: usize = 5;
/// Stands where the number of a claim is, a log index, which is never so large: the number and when it was given back follow.
const PAST: u64 = u64::MAX;
/// Elements of the longest form of a claim.
const CLAIM_ELEMENTS_MAX: usize = 7;

impl Serialize for QueueSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.claim_ms == Self::default().claim_ms {
            return (self.max_waiting, self.max_wait_ms).serialize(serializer);
        }
        let mut form = serializer.serialize_tuple(ELEMENTS_MAX)?;
        form.serialize_element(&VERSIONED)?;
        form.serialize_element(&WITH_CLAIM)?;
        form.serialize_element(&self.max_waiting)?;
        form.serialize_element(&self.max_wait_ms)?;
        form.serialize_element(&self.claim_ms)?;
        form.end()
    }
}

impl<'de> Deserialize<'de> for QueueSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(ELEMENTS_MAX, QueueSpecForm)
    }
}

struct QueueSpecForm;

impl<'de> Visitor<'de> for QueueSpecForm {
    type Value = QueueSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bounds of a queue")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut form: A) -> Result<QueueSpec, A::Error> {
        let first: u32 = next(&mut form)?;
        if first != VERSIONED {
            return Ok(QueueSpec { max_waiting: first, max_wait_ms: next(&mut form)?, ..QueueSpec::default() });
        }
        check_version(next(&mut form)?)?;
        let (max_waiting, max_wait_ms, claim_ms) = (next(&mut form)?, next(&mut form)?, next(&mut form)?);
        Ok(QueueSpec { max_waiting, max_wait_ms, claim_ms })
    }
}

impl Serialize for QueuePatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.claim_ms == Patch::Keep {
            return (&self.max_waiting, &self.max_wait_ms).serialize(serializer);
        }
        let mut form = serializer.serialize_tuple(ELEMENTS_MAX)?;
        form.serialize_element(&Patch::Set(VERSIONED))?;
        form.serialize_element(&WITH_CLAIM)?;
        form.serialize_element(&self.max_waiting)?;
        form.serialize_element(&self.max_wait_ms)?;
        form.serialize_element(&self.claim_ms)?;
        form.end()
    }
}

impl<'de> Deserialize<'de> for QueuePatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(ELEMENTS_MAX, QueuePatchForm)
    }
}

struct QueuePatchForm;

impl<'de> Visitor<'de> for QueuePatchForm {
    type Value = QueuePatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change of the bounds of a queue")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut form: A) -> Result<QueuePatch, A::Error> {
        let first: Patch<u32> = next(&mut form)?;
        if first != Patch::Set(VERSIONED) {
            return Ok(QueuePatch { max_waiting: first, max_wait_ms: next(&mut form)?, ..QueuePatch::default() });
        }
        check_version(next(&mut form)?)?;
        let (max_waiting, max_wait_ms, claim_ms) = (next(&mut form)?, next(&mut form)?, next(&mut form)?);
        Ok(QueuePatch { max_waiting, max_wait_ms, claim_ms })
    }
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { resource, placement, number, at, fencing_token, past } = self;
        match past {
            None => (resource, placement, number, at, fencing_token).serialize(serializer),
            Some(past) => (resource, placement, PAST, number, past, at, fencing_token).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(CLAIM_ELEMENTS_MAX, ClaimForm)
    }
}

struct ClaimForm;

impl<'de> Visitor<'de> for ClaimForm {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut form: A) -> Result<Claim, A::Error> {
        let (resource, placement): (ResourceName, Placement) = (next(&mut form)?, next(&mut form)?);
        let first: u64 = next(&mut form)?;
        let (number, past) = if first == PAST { (next(&mut form)?, Some(next(&mut form)?)) } else { (first, None) };
        let (at, fencing_token) = (next(&mut form)?, next(&mut form)?);
        Ok(Claim { resource, placement, number, at, fencing_token, past })
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(form: &mut A) -> Result<T, A::Error> {
    form.next_element()?.ok_or_else(|| A::Error::custom("it is cut"))
}

fn check_version<E: Error>(version: u8) -> Result<(), E> {
    if version == WITH_CLAIM { Ok(()) } else { Err(E::custom(format!("version {version} is not known"))) }
}

/// A lease as it is stored, to be written.
#[derive(Serialize)]
struct LeaseForm<'a> {
    tag: u32,
    resource: u64,
    resource_name: &'a ResourceName,
    request: &'a RequestId,
    body: u64,
    load: &'a Load,
    priority: u8,
    ttl_ms: u64,
    metadata: &'a Metadata,
    arrived: LogTime,
    life: LifeForm<'a>,
}

/// The part of its life that a lease is in, and who calls for it when that is known.
struct LifeForm<'a>(&'a Life, &'a Caller);

impl Serialize for LifeForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(life, caller) = self;
        if **caller == Caller::default() {
            return life.serialize(serializer);
        }
        // The fourth of `StoredLife`.
        serializer.serialize_newtype_variant("Life", 3, "Called", &(life, caller))
    }
}

impl Serialize for LeaseRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = LeaseForm {
            tag: self.tag,
            resource: self.resource,
            resource_name: &self.resource_name,
            request: &self.request,
            body: self.body,
            load: &self.load,
            priority: self.priority,
            ttl_ms: self.ttl_ms,
            metadata: &self.metadata,
            arrived: self.arrived,
            life: LifeForm(&self.life, &self.caller),
        };
        form.serialize(serializer)
    }
}

/// A lease as it is stored, to be read.
#[derive(Deserialize)]
pub(crate) struct StoredLease {
    tag: u32,
    resource: u64,
    resource_name: ResourceName,
    request: RequestId,
    body: u64,
    load: Load,
    priority: u8,
    ttl_ms: u64,
    metadata: Metadata,
    arrived: LogTime,
    life: StoredLife,
}

/// What [`LifeForm`] writes.
#[derive(Deserialize)]
enum StoredLife {
    Waiting { until: LogTime, alive_until: LogTime },
    Held(Holding),
    Ended(Box<Ended>),
    Called(Life, Caller),
}

impl From<StoredLease> for LeaseRecord {
    fn from(stored: StoredLease) -> Self {
        let (life, caller) = match stored.life {
            StoredLife::Waiting { until, alive_until } => (Life::Waiting { until, alive_until }, Caller::default()),
            StoredLife::Held(holding) => (Life::Held(holding), Caller::default()),
            StoredLife::Ended(ended) => (Life::Ended(ended), Caller::default()),
            StoredLife::Called(life, caller) => (life, caller),
        };
        Self {
            tag: stored.tag,
            resource: stored.resource,
            resource_name: stored.resource_name,
            request: stored.request,
            body: stored.body,
            load: stored.load,
            priority: stored.priority,
            ttl_ms: stored.ttl_ms,
            metadata: stored.metadata,
            arrived: stored.arrived,
            life,
            caller,
        }
    }
}
