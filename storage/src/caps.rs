//! Every maximum of this crate, in one place.
//!
//! Sizes are bytes unless the name says otherwise. A limit that a record or a request runs into is
//! an error that names the limit; nothing is cut short silently.

use std::time::Duration;

/// How many entries one `append` may carry.
pub const LOG_APPEND_ENTRIES_MAX: usize = 65_536;

/// Size at which the log starts a new chunk file. Small chunks mean that purging gives space back
/// soon, and that the records of an open chunk, which the log library keeps in memory, stay few.
pub const LOG_CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Records after which the log starts a new chunk file.
pub const LOG_CHUNK_RECORDS_MAX: usize = 262_144;

/// Read buffer while a chunk is replayed at open.
pub const LOG_READ_BUFFER_BYTES: usize = 1024 * 1024;

/// Payload cache of the log library. Its open chunk is always held on top of this; our own tail
/// does the rest.
pub const LOG_CACHE_BYTES_MAX: usize = 1024 * 1024;

/// Entries in the payload cache of the log library.
pub const LOG_CACHE_ENTRIES_MAX: usize = 1_024;

/// Bytes of encoded records that may wait for the log's writer before an appender blocks.
pub const LOG_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long the log's writer gathers more requests before it writes and syncs. Long enough to join
/// requests that are already on their way, short enough not to be seen next to an fsync.
pub const LOG_BATCH_WAIT: Duration = Duration::from_micros(50);

/// Bytes of recent entries kept readable without touching the disk.
pub const LOG_TAIL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Recent entries kept readable without touching the disk.
pub const LOG_TAIL_ENTRIES_MAX: usize = 16_384;

/// Entries of the older log that are read in one go; the writer gets its turn between two steps.
pub const LOG_READ_STEP_ENTRIES: usize = 128;

/// Bytes of the older log that are read in one go (at least one entry is).
pub const LOG_READ_STEP_BYTES: usize = 1024 * 1024;

/// Records written or removed in one sled batch. One batch is atomic and stalls sled for as long as
/// it takes, at 3 to 9 microseconds a record.
pub const STATE_BATCH_RECORDS_MAX: usize = 256;

/// Pause between two sled batches, so that a checkpoint stays a background activity.
pub const STATE_BATCH_PAUSE: Duration = Duration::from_millis(2);

/// Page cache of sled.
pub const STATE_CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Records handed out by one call of `StateStore::page`.
pub const STATE_PAGE_RECORDS_MAX: usize = 4_096;

/// How many times opening sled is repeated while an earlier instance of this process still holds
/// its file lock.
pub const STATE_OPEN_ATTEMPTS_MAX: u32 = 200;

/// Wait between two such attempts.
pub const STATE_OPEN_RETRY: Duration = Duration::from_millis(10);

/// How many damaged states are kept beside the live one before an operator has to clear them away.
pub const STATE_DAMAGED_KEPT_MAX: u32 = 1_000;

/// The largest `identity.json`.
pub const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// The largest founding file: 64 nodes with their addresses.
pub const FOUNDING_BYTES_MAX: u64 = 256 * 1024;

/// The longest group name, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 64;

/// Free bytes of the data folder's file system below which no new work is granted (`storage-full`),
/// at least: room for a few log chunks and a small checkpoint, so that purging can still go on.
pub const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// What sled takes on the disk for a byte of a checkpoint, about: records are written again when
/// their page is.
pub const STATE_BYTES_FACTOR: u64 = 2;

/// What sled takes on the disk, about, when there is next to nothing in it.
pub const STATE_EMPTY_BYTES: u64 = 8 * 1024 * 1024;

/// Free bytes below which the writer of a slot gives up if its file grows: the rest belongs to the
/// log, without which nothing goes on.
pub const STATE_FREE_BYTES_MIN: u64 = 24 * 1024 * 1024;

/// Free bytes below which no slot is written, not even into what its file has unused: sled says
/// only afterwards that it had to have the file grow.
pub const STATE_FREE_BYTES_LAST: u64 = 12 * 1024 * 1024;

/// Descriptors that must be free before log files are removed.
pub const DESCRIPTORS_SPARE: usize = 4;

/// How often a purge that cannot be put off looks for descriptors, before it is tried without.
pub const DESCRIPTOR_ATTEMPTS_MAX: u32 = 200;

/// Wait between two such attempts.
pub const DESCRIPTOR_RETRY: Duration = Duration::from_millis(50);
