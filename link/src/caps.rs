//! Every maximum of the peer link, in one place.
//!
//! Sizes are bytes unless the name says otherwise.

use std::time::Duration;

use super::lane::Lane;

/// The cluster's unique id, as text.
pub const CLUSTER_ID_BYTES_MAX: usize = 64;

/// The name of a group in a request.
pub const GROUP_NAME_BYTES_MAX: usize = 64;

/// The text of a refusal; a longer one is cut.
pub const REASON_BYTES_MAX: usize = 1_024;

/// One message of the handshake.
pub const HANDSHAKE_BYTES_MAX: usize = 2_048;

/// How long a handshake may take, on either side.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(2);

/// How long opening a TCP connection to one address may take.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// The name of a host, as text (RFC 1035, section 2.3.4, without the dot and the length bytes of
/// the wire).
pub const HOST_NAME_BYTES_MAX: usize = 253;

/// One part of the name of a host.
pub const HOST_LABEL_BYTES_MAX: usize = 63;

/// Addresses of one name that are used; further ones are left out.
pub const HOST_ADDRESSES_MAX: usize = 8;

/// Places where a peer is looked for: that of the address book, and that of this node's file.
pub const PLACES_MAX: usize = 2;

/// Names that are looked up at a time, each on a thread of its own. One more fails, and is tried
/// again like any other.
pub const LOOKUPS_MAX: usize = 64;

/// How long a look-up is waited for. It may go on for longer.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_secs(1);

/// For how long the answer to a look-up that nobody waits for any more is kept for the next who
/// asks.
pub const LATE_ANSWER_TIME: Duration = Duration::from_secs(5);

/// Pause between two attempts to listen on a name that does not resolve to this machine yet.
pub const LISTEN_PAUSE: Duration = Duration::from_millis(500);

/// Connections that the system keeps until they are accepted.
pub const LISTEN_BACKLOG: i32 = 1_024;

/// A call's time limit is cut to this.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Accepted connections whose handshake is not done. One more closes the oldest of them.
pub const UNGREETED_MAX: usize = 64;

/// Accepted connections whose handshake is done. One more is refused. A node holds at most one a
/// lane.
pub const CONNECTIONS_MAX: usize = 320;

/// Nodes whose incarnation is remembered. A connection of one more is refused.
pub const NODES_MAX: usize = 256;

/// Pause after the first failed attempt to connect; it doubles with each further one.
pub const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The longest pause between two attempts to connect.
pub const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A connection that lived this long counts as a success: the next attempt follows at once.
pub const STABLE_AFTER: Duration = Duration::from_secs(1);

/// A lane that nobody called for this long is not connected again until the next call.
pub const DEMAND_WINDOW: Duration = Duration::from_secs(10);

/// Silence after which TCP asks whether the other side is there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// Pause between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// How long sent bytes may stay unacknowledged by the other side's kernel before the connection is
/// given up. Short, so that after a cut has healed a new connection is made rather than a
/// retransmission waited for.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);

/// Pause after the system refused to accept a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of one write; a single frame may be larger.
pub const WRITE_BATCH_BYTES: usize = 256 * 1024;

/// Payloads up to this size are copied next to their header; larger ones are written from where
/// they are.
pub const COPY_BYTES_MAX: usize = 4 * 1024;

/// First size of a connection's read buffer. It grows to the largest frame that was received.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Frames read in one go before waiting answers or requests are written.
pub const FRAMES_A_TURN: u32 = 64;

/// Answers of one connection that wait to be written. Above it no further request is begun.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Warnings in one [`WARN_WINDOW`]; the others are counted.
pub const WARNINGS_MAX: u32 = 10;

/// See [`WARNINGS_MAX`].
pub const WARN_WINDOW: Duration = Duration::from_secs(10);

/// What one lane of one peer may use.
///
/// `calls_max` and `open_bytes_max` bound both ends: a caller never has more open than the callee
/// reads ahead of its service, so a cancellation is never stuck behind requests that nobody waits
/// for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCaps {
    /// The largest frame, header included. A request or an answer that needs more is refused
    /// before it is sent.
    pub frame_bytes_max: usize,
    /// Calls without an answer.
    pub calls_max: usize,
    /// Bytes of their requests. Not below `frame_bytes_max`.
    pub open_bytes_max: usize,
    /// Requests of one connection that the service works on at a time.
    pub concurrency: usize,
}

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

/// What `lane` may use.
pub const fn lane(lane: Lane) -> LaneCaps {
    match lane {
        Lane::Control => LaneCaps {
            frame_bytes_max: MIB,
            calls_max: 1_024,
            open_bytes_max: 4 * MIB,
            concurrency: 64,
        },
        Lane::Log => LaneCaps {
            frame_bytes_max: 8 * MIB,
            calls_max: 1_024,
            open_bytes_max: 32 * MIB,
            concurrency: 64,
        },
        // A piece of a snapshot of 1 MiB, and what describes it.
        Lane::Bulk => LaneCaps {
            frame_bytes_max: MIB + 4 * KIB,
            calls_max: 16,
            open_bytes_max: 8 * MIB,
            concurrency: 4,
        },
        Lane::Forward => LaneCaps {
            frame_bytes_max: 256 * KIB,
            calls_max: 8_192,
            open_bytes_max: 16 * MIB,
            concurrency: 4_096,
        },
        // The largest page of a list, and what surrounds it.
        Lane::Call => LaneCaps {
            frame_bytes_max: 5 * MIB,
            calls_max: 16_384,
            open_bytes_max: 32 * MIB,
            concurrency: 16_384,
        },
    }
}
