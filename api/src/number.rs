//! Numbers with bounds, read strictly: no fractions, no strings, and an error that says what is
//! allowed.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

/// Reads a whole number from `MIN` to `MAX`.
pub(crate) fn bounded<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    d: D,
) -> Result<u64, D::Error> {
    d.deserialize_any(Bounded::<MIN, MAX>)
}

/// Reads such a number, or `null` for none.
pub(crate) fn optional<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    d: D,
) -> Result<Option<u64>, D::Error> {
    struct Maybe<const MIN: u64, const MAX: u64>;

    impl<'de, const MIN: u64, const MAX: u64> Visitor<'de> for Maybe<MIN, MAX> {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from {MIN} to {MAX}, or null")
        }
        fn visit_none<E: Error>(self) -> Result<Option<u64>, E> {
            Ok(None)
        }
        fn visit_unit<E: Error>(self) -> Result<Option<u64>, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Option<u64>, D::Error> {
            bounded::<D, MIN, MAX>(d).map(Some)
        }
    }

    d.deserialize_option(Maybe::<MIN, MAX>)
}

/// Reads a field of a merge patch: present with a number, or with `null`.
pub(crate) fn patched<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    d: D,
) -> Result<Option<Option<u64>>, D::Error> {
    optional::<D, MIN, MAX>(d).map(Some)
}

pub(crate) struct Bounded<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for Bounded<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    // The only integers that TOML knows.
    fn visit_i64<E: Error>(self, n: i64) -> Result<u64, E> {
        match u64::try_from(n) {
            Ok(n) => self.visit_u64(n),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(n), &self)),
        }
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<u64, E> {
        if (MIN..=MAX).contains(&n) {
            Ok(n)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Unsigned(n), &self))
        }
    }
}
