//! The largest payloads, in bytes.

/// The largest payload of one log entry (16 MiB). A proposer batches far below it.
pub const LOG_PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest checkpoint record, with its envelope. Well below a quarter of a sled segment (128
/// KiB): beyond that sled moves pages to files of their own, which its `flush` never syncs.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// The largest encoded membership in a checkpoint header.
pub const MEMBERSHIP_BYTES_MAX: usize = 32 * 1024;

/// A call of the API that one node passes on to another: the largest body, and what surrounds it.
pub const NODE_CALL_BYTES_MAX: usize = 128 * 1024;

/// The answer to such a call: the largest page of a list.
pub const NODE_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The largest log mark file.
pub const LOG_MARK_BYTES_MAX: usize = 4 * 1024;
