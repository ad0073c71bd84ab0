//! The peer link: how the nodes of a cluster talk to each other.
//!
//! # Model
//! A [`Link`] is one node's end of the connections to all others. [`Link::call`] sends a request to
//! a node and gives its answer; the other node's [`Service`] makes the answer. Each [`Lane`] of
//! each pair of nodes and direction is a TCP connection of its own, opened by the caller when it
//! first calls, so that log entries, snapshots and waiting clients never delay a heartbeat.
//!
//! ```text
//!  call ──> queue ──> write ═══ request, cancel ═══> read ──> backlog ──> Service::handle
//!   ^      one a lane          one connection               in order            │
//!   └────── settle <── read ═══ answer, refusal ═══ write <── outbox <──────────┘
//!                                                         in any order
//! ```
//!
//! # Invariants
//! - Requests of one lane reach the service in the order in which the calls were made, and those of
//!   an abandoned connection never after those of its successor.
//! - [`CallError::NotSent`] means that nothing happened; where that is not certain the error is
//!   [`CallError::Lost`].
//! - The service sees only whole frames with the right checksum, in sequence, from a node of this
//!   cluster that has shown in a handshake that it is alive now, in its latest known incarnation.
//! - Whatever the other side sends costs it its connection at most; all memory and time that it can
//!   claim is bounded ([`caps`]).
//! - While a peer is down, calls to it fail at once. A name that does not resolve counts as down.
//! - Names are looked up at every connect, on threads of their own: never on one that runs the
//!   link.
//!
//! # What it leaves out
//! Retries, what a request means, who is a member of a group. Nodes are not authenticated and
//! nothing is encrypted: until TLS is in `stream.rs`, the network between the nodes must be
//! trusted.

pub mod caps;

mod accept;
mod dial;
mod endpoint;
mod error;
mod frame;
mod greeting;
mod handshake;
mod host;
mod lane;
mod listen;
mod outbox;
mod queue;
mod registry;
mod resolve;
mod serve;
mod shared;
mod status;
mod stream;
mod warn;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use endpoint::{Link, LinkOptions};
pub use error::{CallError, CallRefused, LinkError, Lost, NotSent, ProbeError};
pub use host::{Host, HostName, HostPort, InvalidHost};
pub use lane::Lane;
pub use listen::{ListenAddress, ListenError, Listeners};
pub use status::{LaneState, LaneStatus, PeerInfo, PeerStatus};

/// The number of a node: given by the cluster, never used twice in it.
pub type NodeId = u64;

/// What other nodes may ask of this one.
pub trait Service: Send + Sync + 'static {
    /// Begins to handle a request; the future gives the answer, or the reason of a refusal.
    ///
    /// For one lane of one node this is called in the order in which the calls were made; the
    /// futures run side by side, at most [`caps::LaneCaps::concurrency`] of a connection. What
    /// must happen in order is done before this returns, without blocking. The future is
    /// dropped when the caller has gone or the connection broke. `group` is 1 to
    /// [`caps::GROUP_NAME_BYTES_MAX`] bytes of text, not checked further. `request` shares memory
    /// with what was read around it: copy what is kept for long.
    fn handle(
        &self,
        from: NodeId,
        lane: Lane,
        group: &str,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallRefused>>;
}
