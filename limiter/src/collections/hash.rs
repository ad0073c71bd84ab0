//! A hash of a value as it is stored, without storing it anywhere: of a record for the digest, and of what a request asks
//! for.

use std::hash::Hasher;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use siphasher::sip::SipHasher13;

/// The bytes of a value on their way into the hash.
struct Hashed {
    hasher: SipHasher13,
    bytes: [u8; 128],
    len: usize,
}

impl Hashed {
    fn flush(&mut self) {
        self.hasher.write(self.bytes.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}

impl Flavor for Hashed {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.len == self.bytes.len() {
            self.flush();
        }
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.len + bytes.len() > self.bytes.len() {
            self.flush();
        }
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.hasher.write(bytes),
        }
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<u64> {
        self.flush();
        Ok(self.hasher.finish())
    }
}

/// The hash of a value. Hashing does not fail; were it to, it would on every replica alike.
pub(crate) fn hash_of(value: &impl Serialize) -> u64 {
    let hashed = Hashed { hasher: SipHasher13::new(), bytes: [0; 128], len: 0 };
    postcard::serialize_with_flavor(value, hashed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_of_the_stored_bytes() {
        for len in [0, 1, 100, 126, 127, 128, 129, 300, 1000] {
            let value = ("a".repeat(len), vec![7_u8; len], u128::MAX, "b".repeat(200));
            let mut hasher = SipHasher13::new();
            hasher.write(&postcard::to_stdvec(&value).unwrap());
            assert_eq!(hash_of(&value), hasher.finish(), "{len}");
        }
    }
}
