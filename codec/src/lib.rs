//! How a value becomes bytes, on disk and between nodes, and how it is known again.
//!
//! ```text
//!  value --encode(schema)--> | envelope: magic, codec, schema, length, crc32c | bincode | --decode(schema)--> value
//! ```
//!
//! # Model
//! Each version of each record has a [`Schema`] of its own, with an ordinal that stands in the
//! envelope. The content of a record belongs to the crate that has its type; this crate knows its
//! number, its name and its largest size.
//!
//! # Invariants
//! 1. An ordinal is never reused and never changes its meaning ([`schema`]).
//! 2. Damage is noticed before a payload is read, and a payload is read under its size limit
//!    (`tests/schemas.rs`).
//! 3. The bytes of every schema are golden: a format changes only visibly
//!    (`tests/golden/schemas.hex`).
//!
//! # What it leaves out
//! Files, keys, sockets, and what a record means. bincode is named here and nowhere else.

pub mod caps;
pub mod schema;

mod envelope;

pub use envelope::{CodecError, ENVELOPE_BYTES, decode, decode_head, encode, verify};
pub use schema::Schema;
