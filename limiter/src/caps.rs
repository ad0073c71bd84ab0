//! Every maximum of the core. A queue, map, batch or loop without a name here is a defect.

/// Longest duration anywhere (window, wait, ttl): 31 days, in milliseconds.
pub const DURATION_MS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;
/// Largest load, quota and burst: 2^53, the largest integer every JSON reader keeps exact.
pub const LOAD_MAX: u64 = 1 << 53;
/// Limits of one resource.
pub const LIMITS_PER_RESOURCE_MAX: usize = 16;
/// Dimensions of one load map.
pub const DIMENSIONS_PER_LOAD_MAX: usize = 16;
/// Characters of a resource name.
pub const RESOURCE_NAME_LEN_MAX: usize = 256;
/// The same in a group of feature level 1.
pub const RESOURCE_NAME_LEN_LEVEL_1: usize = 128;
/// Characters of the name of a limit or dimension.
pub const LIMIT_NAME_LEN_MAX: usize = 32;
/// Characters of a request id (an `Idempotency-Key`).
pub const REQUEST_ID_LEN_MAX: usize = 128;
/// String pairs in the metadata of a lease.
pub const METADATA_PAIRS_MAX: usize = 16;
/// Bytes of all keys and values in the metadata of a lease.
pub const METADATA_BYTES_MAX: usize = 1024;
/// Lowest priority, the one decided last. 0 is decided first.
pub const PRIORITY_MAX: u8 = 9;
/// Priority of an acquire that names none.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Largest `queue.max_waiting` of a resource.
pub const MAX_WAITING_MAX: u32 = 1_000_000;
/// Resources of one group.
pub const RESOURCES_MAX: usize = 2_000_000;
/// Characters of the name of a group.
pub const PLACEMENT_LEN_MAX: usize = 63;
/// Names that are claimed in the catalog.
pub const CLAIMS_MAX: usize = 8_000_000;
/// Claims that were given back and are remembered for a while. Beyond it the oldest are forgotten
/// early.
pub const CLAIMS_PAST_MAX: usize = 100_000;
/// How long a claim that was given back is remembered, in microseconds of log time: as long as the
/// changes of its resource.
pub const CLAIM_PAST_US: u64 = REMEMBERED_US_MIN;
/// Places of a name that are told to who claims it again: so many groups may have it for a moment
/// each.
pub const CLAIM_PLACES_MAX: usize = 16;
/// Waiting and held leases of one group, together.
pub const LEASES_LIVE_MAX: usize = 4_000_000;
/// Ended leases and resource changes remembered by one group.
pub const REMEMBERED_MAX: usize = 1_000_000;
/// How long an ended lease or a resource change is remembered at least, in microseconds of log
/// time.
pub const REMEMBERED_US_MIN: u64 = 60_000_000;
/// A waiting lease that nobody has asked for this long is cancelled, in microseconds of log time.
pub const KEEPALIVE_US: u64 = 15_000_000;
/// Within this time a lease that was granted while its caller was away must be claimed, unless its
/// resource says otherwise.
pub const CLAIM_MS_DEFAULT: u64 = 5_000;
/// Largest `queue.claim_ms` of a resource.
pub const CLAIM_MS_MAX: u64 = 60_000;
/// Leases named by one command that says that their callers have gone.
pub const DETACH_LEASES_MAX: usize = 1_000;
/// Leases named by one keepalive command.
pub const KEEPALIVE_LEASES_MAX: usize = 1_000;
/// Leases that one log entry expires, times out or grants because time has passed.
pub const DUE_WORK_PER_ENTRY_MAX: usize = 1_000;
/// Leases that one command grants or ends beyond its own.
pub const WORK_PER_COMMAND_MAX: usize = 1_000;
/// Leases that one log entry expires, times out, grants or ends beyond those that its commands
/// speak of; half of it for what time has made due. Of feature level 2; before it the two maxima
/// above count for each entry and each command.
pub const WORK_PER_ENTRY_MAX: usize = 2_000;
/// Resources with left-over work among which an entry shares its budget; the others follow when one
/// of them is done.
pub const LEFT_OVER_SHARED_MAX: usize = 8;
/// Remembered records that one log entry forgets, beyond one for each of its events.
pub const FORGOTTEN_PER_ENTRY_MAX: usize = 64;
/// The same from feature level 2 on, with those that only lose their metadata.
pub const FORGOTTEN_PER_ENTRY_MORE: usize = 1_000;
/// What an ended lease takes without its texts, in bytes, about.
pub const REMEMBERED_LEASE_BYTES: u64 = 128;
/// What a remembered change of a resource takes, in bytes, about.
pub const REMEMBERED_CHANGE_BYTES: u64 = 512;
/// Bytes of ended leases and resource changes remembered by one group, about. Beyond it the oldest
/// lose their metadata, and are then forgotten. From feature level 2 on.
pub const REMEMBERED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Segments into which a sliding window is cut.
pub const SEGMENTS_PER_WINDOW: u64 = 64;
/// The hint of when to come back while only concurrency blocks, in milliseconds.
pub const RETRY_AFTER_CONCURRENCY_MS: u64 = 1_000;
/// Changed records whose hashes may be outstanding; a checkpoint that is cut takes the time to hash
/// so many. Few enough that they are still in the processor's cache when they are hashed.
pub const STALE_RECORDS_MAX: usize = 512;
/// Records handed out at once while a checkpoint drains.
pub const DRAIN_RECORDS_MAX: usize = 512;
