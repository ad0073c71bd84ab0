//! The form in which values are stored and hashed, where it is not simply that of the type.
//!
//! The bytes of a value must not change when a type gets a field: records of before have to be
//! read, hashes of before have to be equal, and replicas of two versions have to agree. So a value
//! that does not use the new field has the bytes that it always had, and one that does says so
//! where the old form could say nothing: by a variant that is new, or by a number that
//! is out of bounds. Each such form of a value in a command is here; those of records are in
//! `state/forms.rs`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::patch::{Patch, QueuePatch};
use crate::model::spec::QueueSpec;

/// Stands where a number of waiting leases is, which is never so large: the form with a version
/// follows.
const VERSIONED: u32 = u32::MAX;
/// The version of the form with `claim_ms`.
const WITH_CLAIM: u8 = 2;
/// Elements of the longest form.
const ELEMENTS_MAX: usize = 5;

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
            return Ok(QueueSpec {
                max_waiting: first,
                max_wait_ms: next(&mut form)?,
                ..QueueSpec::default()
            });
        }
        check_version(next(&mut form)?)?;
        let (max_waiting, max_wait_ms, claim_ms) =
            (next(&mut form)?, next(&mut form)?, next(&mut form)?);
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
            return Ok(QueuePatch {
                max_waiting: first,
                max_wait_ms: next(&mut form)?,
                ..QueuePatch::default()
            });
        }
        check_version(next(&mut form)?)?;
        let (max_waiting, max_wait_ms, claim_ms) =
            (next(&mut form)?, next(&mut form)?, next(&mut form)?);
        Ok(QueuePatch { max_waiting, max_wait_ms, claim_ms })
    }
}

/// The next element of a form.
pub(crate) fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    form: &mut A,
) -> Result<T, A::Error> {
    form.next_element()?.ok_or_else(|| A::Error::custom("it is cut"))
}

fn check_version<E: Error>(version: u8) -> Result<(), E> {
    if version == WITH_CLAIM {
        Ok(())
    } else {
        Err(E::custom(format!("version {version} is not known")))
    }
}
