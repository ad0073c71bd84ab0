//! Every maximum of this crate, in one place.
//!
//! Sizes are bytes unless the name says otherwise.

use std::time::Duration;

/// Commands that wait for the proposer. One more is answered `Overloaded`.
pub const COMMANDS_WAITING_MAX: usize = 16_384;

/// Commands of one log entry.
pub const ENTRY_COMMANDS_MAX: usize = 2_048;

/// Encoded commands of one log entry; an entry of a single command may be larger.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Entries proposed and not yet applied, on a local network. One or two are best there: more only
/// make the batches smaller.
pub const ENTRIES_IN_FLIGHT: usize = 2;

/// One more entry for each of these that a round trip takes.
pub const ENTRY_INTERVAL: Duration = Duration::from_millis(5);

/// Entries proposed and not yet applied, however long the round trip.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 64;

/// How long a group may be without a leader, in election timeouts, before calls are refused rather
/// than kept waiting for one.
pub const LEADERLESS_ELECTIONS: u32 = 3;

/// On top of twice the election timeout: how long a submitted command waits before its caller is
/// told that nobody knows, or that nothing happened.
pub const SUBMIT_GRACE: Duration = Duration::from_millis(200);

/// How long a leader that no quorum has answered yet is given to hear from one, before it is asked
/// again.
pub const NEW_LEADER_POLL: Duration = Duration::from_millis(2);

/// How long the proposer believes what it last heard about free disk space.
pub const SPACE_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Below this many free bytes only what ends leases is written to the log.
pub const FREE_BYTES_SCARCE: u64 = 8 * 1024 * 1024;

/// Below this many free bytes nothing is written to the log that is not already on its way: a log
/// that cannot be written ends the process.
pub const FREE_BYTES_LAST: u64 = 2 * 1024 * 1024;

/// How often the leases that somebody waits for are kept alive. The core cancels them 15 s after
/// the last time.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long after a node has become the leader it keeps all places in the queue once more.
pub const KEEP_ALL_AFTER: Duration = Duration::from_secs(3);

/// Pause after a tick or a keepalive that was not taken.
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Pause before all other nodes are asked again for a state that is missing.
pub const FETCH_PAUSE: Duration = Duration::from_secs(1);

/// How often a leader looks whether all members can follow a higher feature level.
pub const LEVEL_INTERVAL: Duration = Duration::from_secs(1);

/// How often a node looks whether there is little room: for its log, and as a leader for a voter
/// that has more.
pub const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// Pause of a leader without room after it has handed over, or tried to.
pub const ROOM_PAUSE: Duration = Duration::from_secs(10);

/// Pause between two ticks that only let the group forget, while room is scarce.
pub const FORGET_INTERVAL: Duration = Duration::from_millis(100);

/// Keepalives that are under way at once.
pub const KEEPALIVES_AT_ONCE: usize = 8;

/// A snapshot of which nothing was taken for so long is given up.
pub const SNAPSHOT_STUCK: Duration = Duration::from_secs(10);

/// Events that the journal of a group keeps; the oldest entries go first. About 10 MiB.
pub const JOURNAL_EVENTS_MAX: usize = 65_536;

/// Entries read from the log in one go, for apply and for replication.
pub const READ_ENTRIES_MAX: usize = 64;

/// Bytes of entries read from the log in one go (at least one entry is).
pub const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Entries that one append request carries to a follower.
pub const REPLICATE_ENTRIES_MAX: u64 = 64;

/// Entries that are written to the log in one go.
pub const APPEND_ENTRIES_MAX: u64 = 1_024;

/// Requests to the consensus core that may wait.
pub const CORE_REQUESTS_MAX: u64 = 1_024;

/// Notifications inside the consensus core that may wait.
pub const CORE_NOTIFICATIONS_MAX: u64 = 65_536;

/// Requests to the checkpoint thread that may wait.
pub const CHECKPOINT_REQUESTS_MAX: usize = 16;

/// Pause before a checkpoint that was put off is tried again.
pub const CHECKPOINT_RETRY: Duration = Duration::from_secs(5);

/// At a clean stop: how often a checkpoint that was put off is tried again, and the pause before.
pub const CHECKPOINT_STOP_ATTEMPTS: u32 = 20;

/// See [`CHECKPOINT_STOP_ATTEMPTS`].
pub const CHECKPOINT_STOP_PAUSE: Duration = Duration::from_millis(50);

/// How long a clean stop waits for the entries in flight.
pub const SHUTDOWN_DRAIN: Duration = Duration::from_secs(2);

/// How long a voter may take to take leadership over when it is handed to it.
pub const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// Members of a group. With their addresses they fit into one entry of the log, and their
/// connections into the link's.
pub const MEMBERS_MAX: usize = 64;

/// The address of a member, in bytes: two names of hosts of the greatest length with their ports,
/// and what else the address book keeps of a node.
pub const ADDRESS_BYTES_MAX: usize = 640;

/// How long a change of members waits for another one to end.
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// The largest frame between nodes: as many entries as are read in one go, one more, and what
/// surrounds them. A transport must carry it.
pub const FRAME_BYTES_MAX: usize = 7 * 1024 * 1024;

/// Append requests to one follower that may wait for the transport. More may be on their way.
pub const APPENDS_WAITING_MAX: usize = 16;

/// Election timeouts without a response, while one is owed, after which a stream of appends is
/// given up and opened anew.
pub const APPEND_PATIENCE_ELECTIONS: u32 = 4;

/// Records of one frame of a snapshot. Were each of the largest size, the frame would still be
/// within its limit.
pub const SNAPSHOT_CHUNK_RECORDS_MAX: usize = 256;

/// Bytes of the records in one chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 512 * 1024;

/// Frames of a snapshot that wait to be sent, or to be written.
pub const SNAPSHOT_CHUNKS_WAITING_MAX: usize = 4;

/// A snapshot that has not reached its receiver by then is given up. Until then no checkpoint may
/// overwrite its slot.
pub const SNAPSHOT_SEND: Duration = Duration::from_secs(600);

/// How soon a node that could not be reached is tried again: the first pauses, and the longest.
pub const BACKOFF: &str = "20ms 40ms ...500ms";

/// How long the leader may take to answer what was forwarded to it.
pub const FORWARD_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long a command whose answer was lost is asked for again; or so many election timeouts, if
/// that is longer.
pub const UNKNOWN_PATIENCE: Duration = Duration::from_secs(4);

/// See [`UNKNOWN_PATIENCE`].
pub const UNKNOWN_PATIENCE_ELECTIONS: u32 = 4;

/// Frames of a stream on their way, or waiting for their answers.
pub const STREAM_FRAMES_MAX: usize = 256;

/// Pieces of a snapshot on their way.
pub const BULK_FRAMES_IN_FLIGHT: usize = 4;

/// How long another node may take to answer a frame.
pub const PEER_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long another node may take to take a piece of a snapshot, or to install it.
pub const BULK_CALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Leases whose callers have gone between two keepalives that still get one.
pub const DEPARTED_MAX: usize = 100_000;

/// How long opening a group waits until the consensus core shows its members.
pub const START_PATIENCE: Duration = Duration::from_millis(500);
