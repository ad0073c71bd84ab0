//! The types openraft is used with. None of them is ever written to disk or sent: our own records
//! are.

use std::fmt;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, TokioRuntime, leader_id_adv};
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use ratequeue_limiter::Outcome;
use ratequeue_storage::LogId;

use crate::node::{Address, NodeId};

/// Binds openraft's type parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

/// Term and node: two candidates of one term need no second election to be told apart.
pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, NodeId>;
pub(crate) type RaftLogId = openraft::LogId<LeaderId>;
pub(crate) type RaftVote = openraft::impls::Vote<LeaderId>;
pub(crate) type RaftEntry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Payload = EntryPayload<Data, NodeId, Address>;
pub(crate) type RaftMembership = openraft::Membership<NodeId, Address>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, NodeId, Address>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, NodeId, Address>;
pub(crate) type Snapshot<D> = openraft::Snapshot<LeaderId, NodeId, Address, D>;

impl RaftTypeConfig for Types {
    type D = Data;
    type R = Outcomes;
    type NodeId = NodeId;
    type Node = Address;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = RaftVote;
    type Payload = Payload;
    type Entry = RaftEntry;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = Completion<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// The content of an entry, encoded ([`crate::format::batch`]).
#[derive(Clone)]
pub(crate) struct Data {
    pub bytes: Bytes,
    /// Stamped by this process. Such an entry does not move the log clock.
    pub own: bool,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an entry came to: one outcome for each of its commands. Empty for an entry of the
/// protocol's own.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(pub Vec<Outcome>);

/// Called once with the end of a proposal.
pub(crate) struct Completion<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Completion<T> {
    pub fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Completion<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// As the log keeps it.
pub(crate) fn stored_id(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// As openraft wants it.
pub(crate) fn raft_id(id: LogId) -> RaftLogId {
    RaftLogId::new(LeaderId { term: id.term, node_id: id.node }, id.index)
}
