//! Why a call, or the link itself, failed.

use std::io;

use super::handshake::HandshakeError;
use super::listen::ListenError;

/// Why a call has no answer. The three cases differ in what the other node may have done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing happened: the request certainly never left this node.
    #[error("not sent: {0}")]
    NotSent(NotSent),
    /// The request may have been sent, but no answer came: the outcome is unknown.
    #[error("sent, but not answered: {0}")]
    Lost(Lost),
    /// The other node answered that it will not do it, or that it failed.
    #[error("refused by the peer: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
}

/// Why a service did not take a call, as it is told to the caller. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallRefused(pub String);

/// Why a request never left this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The node is not a peer, or has just been removed.
    #[error("no such peer")]
    NoPeer,
    /// There is no connection, and none could be made.
    #[error("the peer is down: {0}")]
    Down(String),
    /// Too much waits for this peer already.
    #[error("too many calls wait for this peer")]
    QueueFull,
    /// The request does not fit into a frame of its lane.
    #[error("the request has {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// Bytes of the request.
        bytes: usize,
        /// Bytes that its lane allows, for this group's name.
        max: usize,
    },
    /// The name of the group is empty or too long.
    #[error("not the name of a group")]
    GroupName,
    /// The time ran out while the request waited to be written.
    #[error("the time ran out before it could be sent")]
    TimedOut,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    Shutdown,
}

/// Why no answer came to a request that was sent, or may have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The time ran out.
    #[error("the time ran out")]
    TimedOut,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The peer was removed, or its address changed.
    #[error("the peer was removed or has moved")]
    Removed,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    Shutdown,
}

impl CallError {
    /// Whether nothing can have happened on the other node because of this call.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::NotSent(_))
    }
}

/// Why a node does not answer at an address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProbeError(#[source] pub(crate) HandshakeError);

impl ProbeError {
    /// There is no link yet.
    #[must_use]
    pub fn not_started() -> Self {
        Self(HandshakeError::Io(io::Error::new(
            io::ErrorKind::NotConnected,
            "the link has not started",
        )))
    }
}

/// Why a link cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The cluster id is empty or too long.
    #[error(
        "a cluster id has 1 to {} bytes, this one has {bytes}",
        super::caps::CLUSTER_ID_BYTES_MAX
    )]
    ClusterId {
        /// Bytes of the id.
        bytes: usize,
    },
    /// The system does not let us listen.
    #[error("cannot listen for other nodes on {}: {}", .0.address, .0.source)]
    Listen(#[from] ListenError),
}
