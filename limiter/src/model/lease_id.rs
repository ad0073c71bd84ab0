//! The id of a lease: one for its whole life.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a lease inside its group: a number that rises with every accepted acquire, and a tag
/// that the number alone does not give away, so that an id is neither guessed nor survives a typing
/// error. Its text is 20 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// Rises with every accepted acquire of the group.
    pub seq: u64,
    /// A hash of the request id that made the lease.
    pub tag: u32,
}

/// The text is not a lease id: 20 characters of `0-9 a-z` without `i l o u`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease id is 20 characters of 0-9 and a-z without i, l, o and u")]
pub struct BadLeaseId;

/// Crockford's base 32, lower case.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 96 bits are 19.2 digits of 5 bits.
const LEN: usize = 20;

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from(self.seq) << 32 | u128::from(self.tag);
        for place in (0..LEN).rev() {
            let digit = (bits >> (place * 5)) & 31;
            let digit = DIGITS.iter().zip(0u128..).find_map(|(c, n)| (n == digit).then_some(*c));
            write!(f, "{}", char::from(digit.unwrap_or(b'0')))?;
        }
        Ok(())
    }
}

impl FromStr for LeaseId {
    type Err = BadLeaseId;

    fn from_str(text: &str) -> Result<Self, BadLeaseId> {
        if text.len() != LEN {
            return Err(BadLeaseId);
        }

        let mut bits: u128 = 0;
        for c in text.bytes() {
            let digit = DIGITS
                .iter()
                .zip(0u128..)
                .find_map(|(d, n)| (*d == c).then_some(n))
                .ok_or(BadLeaseId)?;
            bits = bits << 5 | digit;
        }

        let seq = u64::try_from(bits >> 32).map_err(|_| BadLeaseId)?;
        let tag = u32::try_from(bits & u128::from(u32::MAX)).map_err(|_| BadLeaseId)?;
        Ok(Self { seq, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (seq, tag) in
            [(0, 0), (1, 2), (u64::MAX, u32::MAX), (0x0123_4567_89ab_cdef, 0xdead_beef)]
        {
            let id = LeaseId { seq, tag };
            assert_eq!(id.to_string().len(), 20);
            assert_eq!(id.to_string().parse(), Ok(id));
        }

        for bad in [
            "",
            "0",
            "zzzzzzzzzzzzzzzzzzzz",
            "0000000000000000000i",
            "000000000000000000000",
            "0000000000000000000\u{e9}",
        ] {
            assert_eq!(bad.parse::<LeaseId>(), Err(BadLeaseId), "{bad}");
        }
    }
}
