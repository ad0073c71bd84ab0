//! What the tasks of a link share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::error::{Lost, NotSent};
use super::handshake::LocalNode;
use super::lane::{EachLane, Lane};
use super::queue::CallQueue;
use super::registry::PeerRegistry;
use super::status::PeerInfo;
use super::warn::Warnings;
use super::{NodeId, Service};

/// What the tasks of a link share.
pub(crate) struct Shared {
    pub(crate) me: LocalNode,
    pub(crate) service: Arc<dyn Service>,
    pub(crate) known: Arc<PeerRegistry>,
    /// Parent of every other token.
    pub(crate) stop: CancellationToken,
    pub(crate) peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: Handle,
    pub(crate) warnings: Warnings,
}

/// A node that may be called, at one address. Another address makes another peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    pub(crate) queues: EachLane<Arc<CallQueue>>,
    pub(crate) met: Mutex<Option<PeerInfo>>,
    pub(crate) close: CancellationToken,
}

impl Shared {
    /// Starts a task that [`crate::Link::shutdown`] waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Warns, but not too often.
    pub(crate) fn warn(&self, event: &dyn fmt::Display) {
        match self.warnings.admit(Instant::now()) {
            Some(0) => warn!("peer link: {event}"),
            Some(left_out) => warn!(left_out, "peer link: {event}"),
            None => {}
        }
    }

    /// What open calls are told when their peer is closed.
    pub(crate) fn closing_reasons(&self) -> (NotSent, Lost) {
        if self.stop.is_cancelled() {
            return (NotSent::Shutdown, Lost::Shutdown);
        }
        (NotSent::NoPeer, Lost::Removed)
    }

    /// Ends the calls and connections of a peer that is none any more.
    pub(crate) fn close(&self, peer: &Peer) {
        let (waiting, sent) = self.closing_reasons();
        for lane in Lane::ALL {
            peer.queues.get(lane).close(&waiting, &sent);
        }
        peer.close.cancel();
    }
}
