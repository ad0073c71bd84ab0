//! The application: what a call does, whoever asks for it. It knows neither HTTP nor how a caller
//! is told.
//!
//! ```text
//!   acquire.rs      acquire, and waiting for its turn        leases.rs     look, release, extend, lists
//!   unanswered.rs   a call until it is answered              resources.rs  get, patch, delete, lists
//!   put.rs          where a resource is put                  watch.rs      stats, metrics, whether it is ready
//!   router.rs       which group decides a call               cluster.rs    forming a cluster, its members
//!   events/         events as they happen
//!   relay.rs        calls relayed to another region, and what other nodes ask of this one
//! ```
//! Commands go to a group, which decides them. A call of a resource or a lease is [`Answered`]:
//! [`Decided`] by a group of this node, or in another region, whose reply is passed on as it is.

mod acquire;
mod cluster;
mod error;
mod events;
mod leases;
mod peers;
mod put;
pub mod relay;
mod resources;
mod router;
mod unanswered;
mod watch;

use std::fmt;
use std::sync::Arc;

use ratequeue_raft::{Group, NodeId};

pub use acquire::Acquired;
pub use error::{Cause, ServiceError};
pub use events::{EventQuery, EventStream, Place, Told};
pub use leases::{LeaseCursor, LeasePage, LeaseQuery, ListState};
pub use peers::{ApiHandler, peer_handler};
pub use resources::{ResourcePage, ResourceQuery};
pub use watch::{ResourceStanding, SeriesQuery};

use crate::node::Node;
use crate::node::peer_calls::ApiCall;
use relay::RelayReply;

/// What a node does for its callers.
#[derive(Debug, Clone)]
pub struct Service {
    node: Arc<Node>,
}

/// What a group of this node has decided, or has shown.
#[derive(Debug)]
pub struct Decided<T> {
    pub value: T,
    pub group: Group,
    /// The log entry that decided it; `None` for what is only shown.
    pub index: Option<u64>,
}

/// The answer to a call.
#[derive(Debug)]
pub enum Answered<T> {
    /// By a group of this node.
    Here(Decided<T>),
    /// In another region.
    Elsewhere(RelayReply),
}

/// A call as it came in, as far as it matters where it is decided.
#[derive(Clone)]
pub struct Incoming {
    /// It came with a key, so it can come again: from its caller, or from the node that relayed
    /// it, which made the key up.
    pub can_return: bool,
    /// Another node has relayed it to this one.
    pub is_relayed: bool,
    /// Its bytes, to be relayed.
    pub to_bytes: Arc<dyn Fn() -> ApiCall + Send + Sync>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { can_return, is_relayed, to_bytes: _ } = self;
        f.debug_struct("Incoming")
            .field("can_return", can_return)
            .field("is_relayed", is_relayed)
            .finish()
    }
}

impl Service {
    /// The service of a node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The node.
    pub fn node_id(&self) -> NodeId {
        self.node.options.id
    }

    /// The URL of the node that leads a group, the one of this node's region when none is given, if
    /// it is known.
    pub fn leader_url(&self, group: Option<&Group>) -> Option<String> {
        let member = self.node.member()?;
        member.leader_url(group.unwrap_or(&member.region))
    }
}
