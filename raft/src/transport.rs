//! How a group talks to its copies on other nodes.
//!
//! A [`Transport`] moves opaque frames; what is in them is this crate's business. The receiving
//! node hands them to [`crate::Group::receive`] and [`crate::Group::receive_stream`] of the group
//! that they name.
//!
//! ```text
//!  leader                                             follower
//!  Control  votes, heartbeats, handing over   -->     receive           one frame, one answer
//!  Log      appends, as many as wait          -->     receive_stream    answers in the order of the frames
//!  Bulk     a snapshot                        -->     receive_stream    one answer, at the end
//!  Forward  a command (from any node)         -->     receive_forwarded one frame, one answer
//! ```
//! The lanes should not wait for each other: a heartbeat behind a snapshot costs the leader its
//! office.

use std::fmt::Debug;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
pub use ratequeue_link::Lane;
use tokio::sync::mpsc;

use crate::node::{Address, NodeId};

/// Where a frame goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The group on that node.
    pub group: String,
    /// The node. The transport makes sure that it is this one that answers.
    pub node: NodeId,
    /// Where it is said to be.
    pub address: Address,
}

/// Why a frame was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The node cannot be reached: the frame has certainly not arrived. It is tried again after a
    /// pause.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The connection broke: the frame may have arrived. It is tried again soon.
    #[error("broken: {0}")]
    Broken(String),
    /// Too much waits for the node already: the frame has certainly not been sent.
    #[error("too many calls wait for the node")]
    Overloaded,
}

/// Answers, in the order of the frames sent; it ends with the first error.
pub type Responses = BoxStream<'static, Result<Bytes, TransportError>>;

/// Carries frames of at most [`crate::caps::FRAME_BYTES_MAX`] bytes between the nodes of a group.
/// Nothing is asked of it but that a frame arrives whole and at most once, and a stream in order;
/// frames may be late or lost.
pub trait Transport: Debug + Send + Sync + 'static {
    /// The feature level that a node has said it can follow, when it was met last.
    fn feature_level(&self, node: NodeId) -> Option<u32>;

    /// Sends a frame and returns its answer. The caller limits the time, by dropping the future.
    fn call(
        &self,
        to: &Target,
        lane: Lane,
        frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// Sends frames as they come, until their stream ends, and returns the answers. Frames must be
    /// taken whether or not the answers are polled. Dropping the answers ends it all.
    fn stream(
        &self,
        to: &Target,
        lane: Lane,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Responses, TransportError>>;
}

/// For a group of one node: reaches nobody.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoTransport;

impl NoTransport {
    fn nobody() -> TransportError {
        TransportError::Unreachable("there is no transport".to_owned())
    }
}

impl Transport for NoTransport {
    fn feature_level(&self, _node: NodeId) -> Option<u32> {
        None
    }

    fn call(
        &self,
        _to: &Target,
        _lane: Lane,
        _frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(std::future::ready(Err(Self::nobody())))
    }

    fn stream(
        &self,
        _to: &Target,
        _lane: Lane,
        _frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Responses, TransportError>> {
        Box::pin(std::future::ready(Err(Self::nobody())))
    }
}

/// A stream of what a channel brings.
pub(crate) fn frames(receiver: mpsc::Receiver<Bytes>) -> BoxStream<'static, Bytes> {
    Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((frame, receiver))
    }))
}
