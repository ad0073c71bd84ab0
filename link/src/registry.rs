//! Which nodes were met, and in which incarnation; which of them are connected to us.
//!
//! # Invariants
//! - Of one node, connections of one incarnation only are alive: the highest that was ever met.
//! - Of one lane of one node, one accepted connection at a time is served; the next one is not
//!   served before the one it replaces has ended, and one that is older is never served. So
//!   requests of an abandoned connection never come after those of its successor.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::caps;
use super::greeting::{Refusal, RefusalCode};
use super::lane::{EachLane, Lane};

#[derive(Debug)]
pub(crate) struct PeerRegistry {
    stop: CancellationToken,
    nodes: Mutex<Nodes>,
}

#[derive(Debug, Default)]
struct Nodes {
    met: BTreeMap<u64, Met>,
    /// Accepted connections, also replaced ones that have not ended.
    connections: usize,
    serial: u64,
}

#[derive(Debug)]
struct Met {
    incarnation: u64,
    /// Parent of the tokens of all connections with this incarnation, in both directions.
    current: CancellationToken,
    accepted: EachLane<Option<Accepted>>,
    /// The highest place that was ever admitted, of each lane.
    newest: EachLane<u64>,
}

#[derive(Debug)]
struct Accepted {
    serial: u64,
    close: CancellationToken,
    ended: CancellationToken,
}

/// The right to serve an accepted connection, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Admission {
    known: Arc<PeerRegistry>,
    node: u64,
    lane: Lane,
    serial: u64,
    close: CancellationToken,
    replaced: Option<CancellationToken>,
    _ended: DropGuard,
}

impl PeerRegistry {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stop, nodes: Mutex::default() }
    }

    /// Whether a connection of this node would be admitted now; if so, its place in the order of
    /// all connections. It is given before the welcome, so one that carried requests has a
    /// lower place than any that its caller opened later.
    pub(crate) fn check(&self, node: u64, incarnation: u64) -> Result<u64, Refusal> {
        let mut nodes = self.nodes.lock();
        if nodes.connections >= caps::CONNECTIONS_MAX {
            return Err(busy());
        }
        match nodes.met.get(&node) {
            Some(met) if incarnation < met.incarnation => {
                Err(stale(node, incarnation, met.incarnation))
            }
            None if nodes.met.len() >= caps::NODES_MAX => Err(busy()),
            Some(_) | None => {
                nodes.serial += 1;
                Ok(nodes.serial)
            }
        }
    }

    /// Notes that a node was met, and closes what belongs to earlier incarnations of it. The token
    /// is cancelled when a later one is met.
    pub(crate) fn seen(&self, node: u64, incarnation: u64) -> Result<CancellationToken, Refusal> {
        let mut nodes = self.nodes.lock();
        nodes.meet(node, incarnation, &self.stop).map(|met| met.current.clone())
    }

    /// Admits an accepted connection whose handshake is done, and closes the one it replaces.
    /// `serial` is its place.
    pub(crate) fn admit(
        self: &Arc<Self>,
        node: u64,
        incarnation: u64,
        lane: Lane,
        serial: u64,
    ) -> Result<Admission, Refusal> {
        let mut nodes = self.nodes.lock();
        if nodes.connections >= caps::CONNECTIONS_MAX {
            return Err(busy());
        }

        let met = nodes.meet(node, incarnation, &self.stop)?;
        if serial < *met.newest.get(lane) {
            return Err(Refusal::new(
                RefusalCode::Replaced,
                "a later connection has taken its place",
            ));
        }
        *met.newest.get_mut(lane) = serial;

        let close = met.current.child_token();
        let ended = CancellationToken::new();
        let accepted = Accepted { serial, close: close.clone(), ended: ended.clone() };

        let replaced = met.accepted.get_mut(lane).replace(accepted).map(|old| {
            old.close.cancel();
            old.ended
        });

        nodes.connections += 1;
        Ok(Admission {
            known: Arc::clone(self),
            node,
            lane,
            serial,
            close,
            replaced,
            _ended: ended.drop_guard(),
        })
    }

    /// Accepted connections that are alive.
    pub(crate) fn connections(&self) -> usize {
        self.nodes.lock().connections
    }
}

impl Nodes {
    fn meet(
        &mut self,
        node: u64,
        incarnation: u64,
        stop: &CancellationToken,
    ) -> Result<&mut Met, Refusal> {
        let full = self.met.len() >= caps::NODES_MAX;
        let fresh = || Met {
            incarnation,
            current: stop.child_token(),
            accepted: EachLane::default(),
            newest: EachLane::default(),
        };

        match self.met.entry(node) {
            Entry::Vacant(_) if full => Err(busy()),
            Entry::Vacant(entry) => Ok(entry.insert(fresh())),
            Entry::Occupied(entry) => {
                let met = entry.into_mut();
                if incarnation < met.incarnation {
                    return Err(stale(node, incarnation, met.incarnation));
                }
                if incarnation > met.incarnation {
                    met.incarnation = incarnation;
                    // The accepted connections stay listed until they have ended: a successor waits
                    // for that.
                    std::mem::replace(&mut met.current, stop.child_token()).cancel();
                }
                Ok(met)
            }
        }
    }
}

impl Admission {
    /// Waits until the connection that this one replaces has ended.
    pub(crate) async fn turn(&self) {
        if let Some(replaced) = &self.replaced {
            replaced.cancelled().await;
        }
    }

    /// Waits until the connection must be closed.
    pub(crate) async fn closing(&self) {
        self.close.cancelled().await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut nodes = self.known.nodes.lock();
        nodes.connections = nodes.connections.saturating_sub(1);
        if let Some(met) = nodes.met.get_mut(&self.node) {
            let accepted = met.accepted.get_mut(self.lane);
            if accepted.as_ref().is_some_and(|accepted| accepted.serial == self.serial) {
                *accepted = None;
            }
        }
    }
}

fn busy() -> Refusal {
    Refusal::new(RefusalCode::Busy, "too many connections")
}

fn stale(node: u64, found: u64, newest: u64) -> Refusal {
    let reason = format!("incarnation {found} of node {node} is over: {newest} was met");
    Refusal::new(RefusalCode::Incarnation, reason)
}
