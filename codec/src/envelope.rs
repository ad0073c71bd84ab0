//! How a value becomes bytes: bincode inside an envelope that names its schema and carries a
//! checksum.
//!
//! ```text
//! 0      2       3        4       8        12
//! | magic | codec | schema | len   | crc32c | payload (len bytes)
//! ```
//!
//! All numbers are little endian. The checksum covers the eight bytes before it and the payload.
//! Bytes are only ever decoded from a slice, under a size limit, and nothing may follow the
//! payload.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::schema::{Schema, schema_of};

/// Length of the envelope in front of every payload, in bytes.
pub const ENVELOPE_BYTES: usize = 12;

/// "RQ", so that a foreign or shifted value is seen at once.
const MAGIC: [u8; 2] = *b"RQ";

/// Codec 1: bincode 1.3, variable-length integers, little endian. The only one so far.
const CODEC_BINCODE: u8 = 1;

/// Why bytes are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value does not start with the magic number: it is not ours, or it is damaged.
    #[error("not a RateQueue value (starts with {found:02x?})")]
    BadMagic {
        /// The two bytes found.
        found: [u8; 2],
    },
    /// The codec is unknown: a newer version wrote it.
    #[error("unknown codec {0}: written by a newer version of RateQueue")]
    UnknownCodec(u8),
    /// The schema is unknown: a newer version wrote it.
    #[error("unknown schema {0}: written by a newer version of RateQueue")]
    UnknownSchema(u8),
    /// The schema is known, but another one was asked for.
    #[error("the value is a {found}, not a {expected}")]
    OtherSchema {
        /// Name of the schema asked for.
        expected: &'static str,
        /// Name of the schema found.
        found: &'static str,
    },
    /// The value ends too early.
    #[error("the value is cut: {have} of {need} bytes")]
    Cut {
        /// Bytes needed.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// Something follows the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// The checksum does not fit: the value is damaged.
    #[error("the checksum does not fit: stored {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// The checksum in the envelope.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// The payload is larger than its schema allows.
    #[error("a {schema} may have {max} bytes, this one has more")]
    TooLarge {
        /// Name of the schema.
        schema: &'static str,
        /// Its limit in bytes.
        max: usize,
    },
    /// The payload is whole, but it is not a value of this schema.
    #[error("the payload of a {schema} cannot be read or written: {detail}")]
    Payload {
        /// Name of the schema.
        schema: &'static str,
        /// What bincode says.
        detail: String,
    },
}

/// The bytes of `value`, with their envelope.
///
/// # Errors
/// [`CodecError::TooLarge`] or [`CodecError::Payload`].
pub fn encode<T: Serialize + ?Sized>(schema: Schema, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![0; ENVELOPE_BYTES];
    options(schema)
        .serialize_into(&mut bytes, value)
        .map_err(|error| payload_error(schema, &error))?;

    let too_large = || CodecError::TooLarge { schema: schema.name, max: schema.bytes_max };
    let len = u32::try_from(bytes.len() - ENVELOPE_BYTES).map_err(|_| too_large())?;
    let [m0, m1] = MAGIC;
    let [l0, l1, l2, l3] = len.to_le_bytes();
    let head = [m0, m1, CODEC_BINCODE, schema.ordinal, l0, l1, l2, l3];
    let payload = bytes.get(ENVELOPE_BYTES..).unwrap_or_default();

    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload).to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(head.into_iter().chain(crc)) {
        *to = from;
    }

    debug_assert_eq!(verify(&bytes), Ok(schema), "what is written can be read");
    Ok(bytes)
}

/// The value in `bytes`, which must be exactly one envelope of this schema.
///
/// # Errors
/// Any [`CodecError`]; each says what is wrong with the bytes.
pub fn decode<T: DeserializeOwned>(schema: Schema, bytes: &[u8]) -> Result<T, CodecError> {
    let payload = payload_of(schema, bytes)?;
    options(schema).deserialize(payload).map_err(|error| payload_error(schema, &error))
}

/// Decodes the first fields of a value, and leaves the others unread.
///
/// # Errors
/// As [`decode`], but for what is wrong in the fields that are not read.
pub fn decode_head<T: DeserializeOwned>(schema: Schema, bytes: &[u8]) -> Result<T, CodecError> {
    let payload = payload_of(schema, bytes)?;
    let options = options(schema).allow_trailing_bytes();
    options.deserialize(payload).map_err(|error| payload_error(schema, &error))
}

fn payload_of(schema: Schema, bytes: &[u8]) -> Result<&[u8], CodecError> {
    let (found, payload) = open(bytes)?;
    if found == schema {
        return Ok(payload);
    }
    Err(CodecError::OtherSchema { expected: schema.name, found: found.name })
}

/// Checks the envelope and the checksum, and says which schema the value has, without reading the
/// payload.
///
/// # Errors
/// Any [`CodecError`] but [`CodecError::Payload`] and [`CodecError::OtherSchema`].
pub fn verify(bytes: &[u8]) -> Result<Schema, CodecError> {
    open(bytes).map(|(schema, _)| schema)
}

fn open(bytes: &[u8]) -> Result<(Schema, &[u8]), CodecError> {
    let Some((envelope, rest)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(CodecError::Cut { need: ENVELOPE_BYTES, have: bytes.len() });
    };

    let [m0, m1, codec, ordinal, l0, l1, l2, l3, c0, c1, c2, c3] = *envelope;
    if [m0, m1] != MAGIC {
        return Err(CodecError::BadMagic { found: [m0, m1] });
    }

    let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let Some(payload) = rest.get(..len) else {
        return Err(CodecError::Cut {
            need: len.saturating_add(ENVELOPE_BYTES),
            have: bytes.len(),
        });
    };

    if rest.len() > len {
        return Err(CodecError::Trailing(rest.len() - len));
    }

    // Before codec and schema are judged: an unknown one is news only if the bytes are what was
    // written.
    let head = [m0, m1, codec, ordinal, l0, l1, l2, l3];
    let computed = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    let stored = u32::from_le_bytes([c0, c1, c2, c3]);
    if computed != stored {
        return Err(CodecError::Checksum { stored, computed });
    }

    if codec != CODEC_BINCODE {
        return Err(CodecError::UnknownCodec(codec));
    }

    let schema = schema_of(ordinal).ok_or(CodecError::UnknownSchema(ordinal))?;
    Ok((schema, payload))
}

fn options(schema: Schema) -> impl Options {
    let limit = u64::try_from(schema.bytes_max).unwrap_or(u64::MAX);
    bincode::DefaultOptions::new().with_limit(limit)
}

fn payload_error(schema: Schema, error: &bincode::Error) -> CodecError {
    if matches!(**error, bincode::ErrorKind::SizeLimit) {
        return CodecError::TooLarge { schema: schema.name, max: schema.bytes_max };
    }
    CodecError::Payload { schema: schema.name, detail: error.to_string() }
}
