//! Calls between nodes, beside those of their groups: typed, over the peer link.
//!
//! ```text
//!  this node                                        another node
//!    Regions::call_node ── PeerCall ══ Lane::Call ══> service/relay.rs RelayService
//!                       <─ PeerAnswer ══════════════
//! ```
//! A call of the API that is relayed crosses as it came in, in the bytes of its caller
//! ([`ApiCall`]); everything else is a question of its own. When the caller leaves, the link tells
//! the other node, which drops what it does for it.

use std::time::Duration;

use bytes::Bytes;
use ratequeue_api::cluster::{ChangeAnswer, ChangeRequest, ClusterView, NodeReport, NodeView};
use ratequeue_codec::{self as codec, CodecError, schema};
use ratequeue_limiter::{ResourceName, ResourceView};
use ratequeue_raft::TransportError;
use serde::{Deserialize, Serialize};

use super::event_calls::{EventsCall, EventsPage};
use super::regions::{Regions, address};

/// Nodes of a region that are tried, one after the other.
pub const NODES_TRIED_MAX: usize = 3;

/// What a node asks of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerCall {
    /// To answer a call of the API that is decided there.
    Relay(ApiCall),
    /// How it stands.
    View,
    /// To check a change of members and record it, as the leader of the global group.
    Change(#[serde(with = "as_json")] ChangeRequest),
    /// To give a name back that is claimed for a group of it, unless the resource exists there.
    GiveBack(ResourceName),
    /// Whether a resource exists in the group of its region.
    Exists(ResourceName),
    /// The resources of its region that follow `after`, at most `max` of them.
    Resources { after: Option<ResourceName>, max: u32 },
    /// What happens in a group of it.
    Events(EventsCall),
    /// What it says of itself.
    Report,
}

/// A call of the API, as it can be made again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiCall {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// What a node answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerAnswer {
    Relayed(RelayAnswer),
    View(#[serde(with = "as_json")] ClusterView),
    Change(#[serde(with = "as_json")] ChangeAnswer),
    GivenBack,
    Exists(bool),
    Resources(RegionPage),
    /// It was not done, and why.
    Refused(String),
    /// It broke off: the outcome is unknown.
    Failed,
    Events(EventsPage),
    Report(#[serde(with = "as_json")] NodeReport),
}

/// Resources of a region, in name order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionPage {
    pub items: Vec<ResourceView>,
    /// There are more.
    pub more: bool,
}

/// The answer to a call of the API that was relayed: what it means, and the reply for its caller.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayAnswer {
    pub verdict: Verdict,
    /// For how many microseconds the node had the call.
    pub handled_us: u64,
    pub reply: ApiReply,
}

/// What a reply means, for the node that relayed the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It was done.
    Done,
    /// There is no resource of this name.
    NotFound,
    /// It was refused, and will be wherever it is decided.
    Refused,
    /// The disk of the node is full.
    StorageFull,
    /// The node could not decide it. `no_effect`: it certainly changed nothing.
    Unavailable { no_effect: bool },
    /// The resource does not live there.
    WrongRegion,
}

/// A reply of the API, in the bytes that its caller gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiReply {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Why another node has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// This node has no peer link.
    #[error("this node was started with a file of one node")]
    Alone,
    /// This node has no part in a cluster.
    #[error("this node is in no cluster")]
    NotJoined,
    /// The question has no frame.
    #[error("it cannot be asked: {0}")]
    Unsendable(#[source] CodecError),
    /// The node did not answer.
    #[error(transparent)]
    Link(#[from] TransportError),
    /// The answer is not one of this version.
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[source] CodecError),
    /// The node did not do it.
    #[error("{0}")]
    Refused(String),
    /// The node broke off, or answered something else.
    #[error("it failed")]
    Failed,
}

/// Why a call to another region has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Nothing happened: the node cannot be reached.
    Unreachable,
    /// The node was lost before it answered.
    Unknown,
}

impl PeerCall {
    /// The frame that carries it.
    ///
    /// # Errors
    /// When it is too large.
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        codec::encode(schema::NODE_CALL, self).map(Bytes::from)
    }

    /// The call in a frame.
    ///
    /// # Errors
    /// When there is none.
    pub fn decode(frame: &[u8]) -> Result<Self, CodecError> {
        codec::decode(schema::NODE_CALL, frame)
    }
}

impl PeerAnswer {
    /// The frame that carries it.
    ///
    /// # Errors
    /// When it is too large.
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        codec::encode(schema::NODE_ANSWER, self).map(Bytes::from)
    }

    /// The answer of a node that has done what it was asked for.
    fn done(self) -> Result<Self, PeerError> {
        match self {
            Self::Refused(why) => Err(PeerError::Refused(why)),
            Self::Failed => Err(PeerError::Failed),
            Self::Relayed(_)
            | Self::View(_)
            | Self::Change(_)
            | Self::GivenBack
            | Self::Exists(_)
            | Self::Resources(_)
            | Self::Events(_)
            | Self::Report(_) => Ok(self),
        }
    }

    /// The answer in a frame.
    ///
    /// # Errors
    /// When there is none.
    pub fn decode(frame: &[u8]) -> Result<Self, CodecError> {
        codec::decode(schema::NODE_ANSWER, frame)
    }
}

impl Regions {
    /// Asks a node something.
    ///
    /// # Errors
    /// Why it has not been done.
    pub async fn call_node(
        &self,
        node: &NodeView,
        call: &PeerCall,
        within: Duration,
    ) -> Result<PeerAnswer, PeerError> {
        let peers = self.peers().ok_or(PeerError::Alone)?;
        let frame = call.encode().map_err(PeerError::Unsendable)?;
        let answer = peers.call_node(node.id, &address(node), frame, within).await?;

        PeerAnswer::decode(&answer).map_err(PeerError::Unreadable)?.done()
    }

    /// Asks a region something that may be asked twice: one node after the other, until one has
    /// done it.
    ///
    /// # Errors
    /// Why the last one has not.
    pub async fn call_region(
        &self,
        region: &str,
        call: &PeerCall,
        within: Duration,
    ) -> Result<PeerAnswer, PeerError> {
        let frame = call.encode().map_err(PeerError::Unsendable)?;
        let mut failed = PeerError::Failed;
        if !self.is_reachable(region).await {
            return Err(failed);
        }

        for node in self.nodes_of(region).into_iter().take(NODES_TRIED_MAX) {
            match self.exchange(&node, frame.clone(), within).await {
                Ok(answer) => match answer.done() {
                    Ok(answer) => return Ok(answer),
                    Err(error) => failed = error,
                },
                Err(Lost::Unreachable | Lost::Unknown) => {}
            }
        }
        Err(failed)
    }

    /// Sends a frame to a node of another region. It is not waited for a node that falls silent.
    ///
    /// # Errors
    /// [`Lost`] says whether anything may have happened.
    pub async fn exchange(
        &self,
        node: &NodeView,
        frame: Bytes,
        within: Duration,
    ) -> Result<PeerAnswer, Lost> {
        let Some(peers) = self.peers() else { return Err(Lost::Unreachable) };
        if self.contact(&node.region).silent.contains(&node.id) {
            return Err(Lost::Unreachable);
        }

        let address = address(node);
        let answered = tokio::select! {
            answered = peers.call_node(node.id, &address, frame, within) => answered,
            () = self.silent(&node.region, node.id) => return Err(Lost::Unknown),
        };

        match answered {
            Ok(frame) => PeerAnswer::decode(&frame).map_err(|error| {
                tracing::warn!(node = node.id, %error, "the answer of a node cannot be read");
                Lost::Unknown
            }),
            Err(TransportError::Unreachable(_) | TransportError::Overloaded) => {
                Err(Lost::Unreachable)
            }
            Err(TransportError::Broken(_)) => Err(Lost::Unknown),
        }
    }
}

/// Types of the API cross as JSON, which their encodings are made for.
pub(super) mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ratequeue_api::event::EventKind;

    use super::*;
    use crate::node::event_calls::EventFilter;

    fn hex(bytes: Bytes) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// To be changed only together with a new schema ordinal, once a version has been released.
    #[test]
    fn calls_have_their_golden_bytes() {
        let name = ResourceName::new("a").unwrap();
        let call = ApiCall {
            method: "PUT".to_owned(),
            path: "/v1/x?y".to_owned(),
            headers: vec![("content-type".to_owned(), b"a".to_vec())],
            body: b"{}".to_vec(),
        };

        for (call, bytes) in [
            (
                PeerCall::Relay(call),
                "5251010e20000000dc4b07ca0003505554072f76312f783f79010c636f6e74656e742d747970650161027b7d",
            ),
            (PeerCall::View, "5251010e01000000fde8f18e01"),
            (
                PeerCall::Change(ChangeRequest::Rebalance {}),
                "5251010e18000000514d6aef02167b226368616e6765223a22726562616c616e6365227d",
            ),
            (PeerCall::GiveBack(name.clone()), "5251010e03000000109e4803030161"),
            (PeerCall::Exists(name.clone()), "5251010e0300000079fab877040161"),
            (
                PeerCall::Resources { after: Some(name), max: 7 },
                "5251010e05000000c61d98320501016107",
            ),
            (PeerCall::Report, "5251010e01000000150f50a807"),
            (
                PeerCall::Events(EventsCall {
                    group: "g".to_owned(),
                    after: Some(300),
                    filter: EventFilter {
                        resources: [ResourceName::new("a").unwrap()].into(),
                        kinds: [EventKind::Granted].into(),
                    },
                    hold_ms: 5,
                }),
                "5251010e0d000000f51b361806016701fb2c01010161010105",
            ),
        ] {
            let frame = call.encode().unwrap();
            assert_eq!(PeerCall::decode(&frame).unwrap(), call);
            assert_eq!(hex(frame), bytes, "{call:?}");
        }
    }

    /// As above.
    #[test]
    fn answers_have_their_golden_bytes() {
        let reply =
            ApiReply { status: 201, headers: vec![("b".to_owned(), b"c".to_vec())], body: vec![1] };
        let relayed = |verdict| RelayAnswer { verdict, handled_us: 3, reply: reply.clone() };

        for (answer, bytes) in [
            (
                PeerAnswer::Relayed(relayed(Verdict::Done)),
                "5251010f0b000000771bdf13000003c901016201630101",
            ),
            (
                PeerAnswer::Relayed(relayed(Verdict::Unavailable { no_effect: true })),
                "5251010f0c0000006aa5aa2a00040103c901016201630101",
            ),
            (
                PeerAnswer::Change(ChangeAnswer { done: true, progress: "p".to_owned() }),
                "5251010f1e00000006fc1c3e021c7b22646f6e65223a747275652c2270726f6772657373223a2270227d",
            ),
            (PeerAnswer::GivenBack, "5251010f0100000013f3fa8003"),
            (PeerAnswer::Exists(true), "5251010f02000000a51c49ed0401"),
            (
                PeerAnswer::Resources(RegionPage { items: Vec::new(), more: true }),
                "5251010f03000000351ea1e9050001",
            ),
            (PeerAnswer::Refused("r".to_owned()), "5251010f03000000c8e1e572060172"),
            (PeerAnswer::Failed, "5251010f010000000c64604707"),
            (
                PeerAnswer::Events(EventsPage { events: Vec::new(), after: 300, gap: Some(7) }),
                "5251010f09000000a18d8bec08025b5dfb2c010107",
            ),
        ] {
            let frame = answer.encode().unwrap();
            assert_eq!(PeerAnswer::decode(&frame).unwrap(), answer);
            assert_eq!(hex(frame), bytes, "{answer:?}");
        }
    }
}
