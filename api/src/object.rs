//! JSON objects, read strictly: serde alone would also take an array, as the fields in their order,
//! and of values with the same name the last one.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// A value that is an object on the wire, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(access))
            }
        }

        d.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// Reads a field that is an object.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Object::deserialize(d).map(|Object(value)| value)
}

/// Reads a field of a merge patch: present with an object, or with `null`.
pub(crate) fn patched<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<Option<T>>, D::Error> {
    let value: Option<Object<T>> = Option::deserialize(d)?;
    Ok(Some(value.map(|Object(value)| value)))
}

/// Reads values by name. A name that is there twice is an error, since one of its values would be
/// ignored.
///
/// # Errors
/// What the format or a value says, or which name is there twice.
pub fn unique<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Values<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Values<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut values = BTreeMap::new();
            while let Some(name) = access.next_key::<String>()? {
                if values.contains_key(&name) {
                    return Err(A::Error::custom(format!("{name} is there twice")));
                }
                values.insert(name, access.next_value()?);
            }
            Ok(values)
        }
    }

    d.deserialize_map(Values(PhantomData))
}

/// Reads objects by name.
pub(crate) fn map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let map: BTreeMap<String, Object<T>> = unique(d)?;
    Ok(map.into_iter().map(|(name, Object(value))| (name, value)).collect())
}

/// Reads objects by name, or `null` in the place of one.
pub(crate) fn patched_map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<BTreeMap<String, Option<T>>, D::Error> {
    let map: BTreeMap<String, Option<Object<T>>> = unique(d)?;
    Ok(map.into_iter().map(|(name, value)| (name, value.map(|Object(value)| value))).collect())
}

#[cfg(test)]
mod tests {
    use crate::{AcquireRequest, Resource, ResourcePatch};

    use super::Object;

    #[test]
    fn an_array_is_no_object() {
        assert!(serde_json::from_str::<Object<AcquireRequest>>("{}").is_ok());
        assert!(serde_json::from_str::<Object<AcquireRequest>>("[]").is_err());
        let limit = r#"{"kind":"concurrency","quota":1}"#;
        let array = r#"["concurrency",null,1]"#;

        for (limit, queue, good) in [
            (limit, "{}", true),
            (limit, r#"{"max_waiting":1}"#, true),
            (limit, "[1,1]", false),
            (array, "{}", false),
        ] {
            let text = format!(r#"{{"limits":{{"a":{limit}}},"queue":{queue}}}"#);
            assert_eq!(serde_json::from_str::<Resource>(&text).is_ok(), good, "{text}");
            assert_eq!(serde_json::from_str::<ResourcePatch>(&text).is_ok(), good, "{text}");
        }

        assert!(
            serde_json::from_str::<ResourcePatch>(
                r#"{"limits":{"a":null},"queue":null,"lease":null}"#
            )
            .is_ok()
        );
    }
}
