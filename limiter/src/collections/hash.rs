//! A hash of a value as it is stored, without storing it anywhere: of a record for the digest, and
//! of what a request asks for.

use std::hash::Hasher;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use siphasher::sip::SipHasher13;

/// A hash of a value, and how many bytes it takes where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    pub hash: u64,
    pub bytes: u32,
}

/// The bytes of a value on their way into the hash.
struct Hashed {
    hasher: SipHasher13,
    bytes: [u8; 128],
    len: usize,
    /// Bytes that went into the hash before these.
    before: usize,
}

impl Hashed {
    fn flush(&mut self) {
        self.hasher.write(self.bytes.get(..self.len).unwrap_or_default());
        self.before += self.len;
        self.len = 0;
    }
}

impl Flavor for &mut Hashed {
    type Output = Stored;

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
            None => {
                self.hasher.write(bytes);
                self.before += bytes.len();
            }
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Stored> {
        self.flush();
        Ok(Stored {
            hash: self.hasher.finish(),
            bytes: u32::try_from(self.before).unwrap_or(u32::MAX),
        })
    }
}

/// The hash and the size of a value. Hashing does not fail; were it to, it would on every replica
/// alike.
pub(crate) fn stored_of(value: &impl Serialize) -> Stored {
    let mut hashed = Hashed { hasher: SipHasher13::new(), bytes: [0; 128], len: 0, before: 0 };
    // Lent, not given: the serializer would move it twice.
    postcard::serialize_with_flavor(value, &mut hashed).unwrap_or_default()
}

/// The hash of a value, as [`stored_of`].
pub(crate) fn hash_of(value: &impl Serialize) -> u64 {
    stored_of(value).hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_and_the_size_of_the_stored_bytes() {
        for len in [0, 1, 100, 126, 127, 128, 129, 300, 1000] {
            let value = ("a".repeat(len), vec![7_u8; len], u128::MAX, "b".repeat(200));
            let bytes = postcard::to_stdvec(&value).unwrap();
            let mut hasher = SipHasher13::new();
            hasher.write(&bytes);
            let stored =
                Stored { hash: hasher.finish(), bytes: u32::try_from(bytes.len()).unwrap() };
            assert_eq!(stored_of(&value), stored, "{len}");
        }
    }
}
