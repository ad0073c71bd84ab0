//! The bytes of every schema, and what becomes of damaged ones.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use ratequeue_codec::schema::{self, SCHEMAS};
use ratequeue_codec::{CodecError, ENVELOPE_BYTES, Schema, decode, encode, verify};
use serde::{Deserialize, Serialize};

/// A stand-in for the records whose content other crates define: one of each kind of field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    small: u8,
    big: u64,
    signed: i64,
    flag: bool,
    text: String,
    some: Option<u32>,
    none: Option<u32>,
    list: Vec<(u16, u64)>,
    choice: Choice,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    Tuple(u64),
    Named { a: u8 },
}

fn sample() -> Sample {
    Sample {
        small: 250,
        big: u64::MAX,
        signed: -2,
        flag: true,
        text: "grün".into(),
        some: Some(70_000),
        none: None,
        list: vec![(1, 2), (300, 1 << 40)],
        choice: Choice::Named { a: 9 },
    }
}

/// As the header of a slot, which is a type of the storage crate; a test there has the same bytes.
fn header() -> impl Serialize {
    (
        Some((3_u64, 2_u64, 1_000_u64)),
        vec![1_u8, 2, 3],
        4_711_u64,
        0xdead_beef_0bad_cafe_u64,
        7_u64,
        false,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `schema: bytes`, a line each. To be changed only together with a new ordinal.
const GOLDEN: &str = include_str!("golden/schemas.hex");

#[test]
fn every_schema_has_its_golden_bytes() {
    let mut lines = String::new();
    for schema in SCHEMAS {
        let bytes = match schema {
            schema::CHECKPOINT => encode(schema, &header()).unwrap(),
            schema::LOG_MARK => {
                // As the mark of a log, which is a type of the storage crate; a test there has the
                // same bytes.
                let mark = (3_u64, Some((3_u64, 2_u64, 1_000_u64)));
                encode(schema, &mark).unwrap()
            }
            _ => encode(schema, &sample()).unwrap(),
        };
        lines +=
            &format!("{} {} {}: {}\n", schema.ordinal, schema.name, schema.version, hex(&bytes));
    }

    assert_eq!(lines, GOLDEN, "\nthe format changed:\n{lines}");
}

#[test]
fn values_come_back() {
    for schema in SCHEMAS {
        let bytes = encode(schema, &sample()).unwrap();
        assert_eq!(verify(&bytes).unwrap(), schema);
        assert_eq!(decode::<Sample>(schema, &bytes).unwrap(), sample());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let bytes = encode(schema::LEASE, &sample()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(verify(&damaged).is_err(), "bit {bit} of byte {at}");
        }
        assert!(matches!(verify(&bytes[..at]), Err(CodecError::Cut { .. })), "cut at {at}");
    }
    assert_eq!(verify(&[bytes.clone(), vec![0]].concat()), Err(CodecError::Trailing(1)));
    assert!(verify(&[]).is_err());
}

/// Puts another byte into the envelope and makes the checksum fit again.
fn forge(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..8]), &bytes[ENVELOPE_BYTES..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn each_error_says_what_is_wrong() {
    let bytes = encode(schema::META, &sample()).unwrap();
    let error = |bytes: &[u8], schema: Schema| decode::<Sample>(schema, bytes).unwrap_err();
    assert_eq!(
        error(b"{\"a\": \"some json\"}", schema::META),
        CodecError::BadMagic { found: *b"{\"" }
    );
    assert_eq!(error(&forge(bytes.clone(), 2, 2), schema::META), CodecError::UnknownCodec(2));
    assert_eq!(error(&forge(bytes.clone(), 3, 200), schema::META), CodecError::UnknownSchema(200));
    let other = CodecError::OtherSchema { expected: "lease", found: "meta" };
    assert_eq!(error(&bytes, schema::LEASE), other);
    // The flag, which can be neither true nor false now.
    let flag = ENVELOPE_BYTES + 11;
    let payload = error(&forge(bytes, flag, 2), schema::META);
    assert!(matches!(payload, CodecError::Payload { .. }), "{payload}");
}

#[test]
fn a_payload_may_not_have_anything_behind_it() {
    let bytes = encode(schema::META, &(1_u8, 2_u8)).unwrap();
    let error = decode::<u8>(schema::META, &bytes).unwrap_err();
    assert!(matches!(error, CodecError::Payload { .. }), "{error}");
}

#[test]
fn sizes_are_limited_both_ways() {
    let too_large = vec![0_u8; schema::LEASE.bytes_max + 1];
    let error = encode(schema::LEASE, &too_large).unwrap_err();
    assert_eq!(error, CodecError::TooLarge { schema: "lease", max: schema::LEASE.bytes_max });
    // A length that the bytes do not have, as a damaged or hostile value may claim it: refused
    // before anything is allocated.
    let claims = encode(schema::LEASE, &u64::MAX).unwrap();
    assert!(decode::<Vec<u64>>(schema::LEASE, &claims).is_err());
    assert!(decode::<String>(schema::LEASE, &claims).is_err());
}
