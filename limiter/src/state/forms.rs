//! The form in which claims and leases are stored and hashed, where it is not simply that of the
//! type. Why, and how such a form is made, is said in `model/forms.rs`.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::forms::next;
use crate::model::load::Load;
use crate::model::name::{Placement, RequestId, ResourceName};
use crate::model::numbers::Metadata;
use crate::model::time::LogTime;
use crate::state::claim::Claim;
use crate::state::lease::{Caller, Ended, Holding, LeaseRecord, LeaseStage};

/// Stands where the number of a claim is, a log index, which is never so large: the number and when
/// it was given back follow.
const PAST: u64 = u64::MAX;
/// Elements of the longest form of a claim.
const CLAIM_ELEMENTS_MAX: usize = 7;

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { resource, placement, number, at, fencing_token, past } = self;
        match past {
            None => (resource, placement, number, at, fencing_token).serialize(serializer),
            Some(past) => {
                (resource, placement, PAST, number, past, at, fencing_token).serialize(serializer)
            }
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
        let (number, past) =
            if first == PAST { (next(&mut form)?, Some(next(&mut form)?)) } else { (first, None) };
        let (at, fencing_token) = (next(&mut form)?, next(&mut form)?);
        Ok(Claim { resource, placement, number, at, fencing_token, past })
    }
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
    stage: StageForm<'a>,
}

/// The stage of a lease, and who calls for it when that is known.
struct StageForm<'a>(&'a LeaseStage, &'a Caller);

impl Serialize for StageForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(stage, caller) = self;
        if **caller == Caller::default() {
            return stage.serialize(serializer);
        }
        // The fourth of `StoredStage`.
        serializer.serialize_newtype_variant("LeaseStage", 3, "Called", &(stage, caller))
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
            stage: StageForm(&self.stage, &self.caller),
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
    stage: StoredStage,
}

/// What [`StageForm`] writes.
#[derive(Deserialize)]
enum StoredStage {
    Waiting { until: LogTime, alive_until: LogTime },
    Held(Holding),
    Ended(Box<Ended>),
    Called(LeaseStage, Caller),
}

impl From<StoredLease> for LeaseRecord {
    fn from(stored: StoredLease) -> Self {
        let (stage, caller) = match stored.stage {
            StoredStage::Waiting { until, alive_until } => {
                (LeaseStage::Waiting { until, alive_until }, Caller::default())
            }
            StoredStage::Held(holding) => (LeaseStage::Held(holding), Caller::default()),
            StoredStage::Ended(ended) => (LeaseStage::Ended(ended), Caller::default()),
            StoredStage::Called(stage, caller) => (stage, caller),
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
            stage,
            caller,
        }
    }
}
