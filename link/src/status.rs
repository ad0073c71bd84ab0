//! What a view shows of the link.

use std::time::Duration;

use super::NodeId;
use super::lane::Lane;

/// One peer, as this node calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its number.
    pub node: NodeId,
    /// Where it is called, `host:port`.
    pub address: String,
    /// What it said when it was last called; `None` before that.
    pub met: Option<PeerInfo>,
    /// Its lanes.
    pub lanes: Vec<LaneStatus>,
}

/// What a peer says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerInfo {
    /// Tells apart two data folders that were ever made for the same node.
    pub incarnation: u64,
    /// The feature level that it supports.
    pub feature_level: u32,
}

/// One lane of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// Which lane.
    pub lane: Lane,
    /// How it is.
    pub state: LaneState,
    /// Calls without an answer, sent or not.
    pub calls_open: usize,
    /// How long the peer took to answer the last greeting; `None` before the first one.
    pub rtt: Option<Duration>,
    /// Why the last connection, or the last attempt, failed; `None` once a later one succeeded.
    pub error: Option<String>,
}

/// How a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// Not connected, because nobody called lately.
    Idle,
    /// Being connected: calls wait.
    Connecting,
    /// Connected.
    Connected,
    /// Not connected: calls fail at once, and further attempts follow.
    Down,
}
