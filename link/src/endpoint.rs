//! The handle of a link.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::error::{CallError, LinkError, Lost, NotSent, ProbeError};
use super::frame::body_bytes_max;
use super::handshake::LocalNode;
use super::lane::{EachLane, Lane};
use super::listen::ListenAddress;
use super::queue::{CallQueue, Entered};
use super::registry::PeerRegistry;
use super::shared::{Peer, Shared};
use super::status::PeerStatus;
use super::warn::Warnings;
use super::{NodeId, Service, accept, caps, dial};

/// Who a node is, and where it listens for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// The cluster's unique id, 1 to [`caps::CLUSTER_ID_BYTES_MAX`] bytes. Nodes of another
    /// cluster are refused.
    pub cluster_id: String,
    /// This node's number.
    pub node: NodeId,
    /// Tells apart two data folders that were ever made for this node: a later one is higher.
    pub incarnation: u64,
    /// The feature level that this node supports; told to the others.
    pub feature_level: u32,
    /// Where to listen. Port 0 lets the system choose: see [`Link::address`].
    pub listen: ListenAddress,
}

/// This node's end of the connections to all other nodes. Cheap to clone; the tasks behind it end
/// with [`Link::shutdown`], or when the last handle is dropped.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop: Arc<DropGuard>,
}

impl Link {
    /// Listens, and serves what other nodes ask from then on.
    ///
    /// # Errors
    /// [`LinkError`] when the options are not valid or the address cannot be listened on; for a
    /// name see [`ListenAddress::bind`].
    pub async fn start(options: LinkOptions, service: Arc<dyn Service>) -> Result<Self, LinkError> {
        let LinkOptions { cluster_id: cluster, node, incarnation, feature_level, listen } = options;
        if cluster.is_empty() || cluster.len() > caps::CLUSTER_ID_BYTES_MAX {
            return Err(LinkError::ClusterId { bytes: cluster.len() });
        }

        let listeners = listen.bind().await?;
        let address = listeners.address();
        let stop = CancellationToken::new();

        let shared = Arc::new(Shared {
            me: LocalNode { cluster, node, incarnation, feature_level },
            service,
            known: Arc::new(PeerRegistry::new(stop.clone())),
            stop: stop.clone(),
            peers: RwLock::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            warnings: Warnings::default(),
        });

        shared.spawn(accept::run(Arc::clone(&shared), listeners));
        Ok(Self { shared, address, _stop: Arc::new(stop.drop_guard()) })
    }

    /// Where this node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `node` callable at `address`: `host:port`, or several of them with commas. Names are
    /// looked up at every connect, and all that they resolve to is tried. When it was known at
    /// another address, calls that are open there fail with [`Lost::Removed`] or
    /// [`NotSent::NoPeer`].
    pub fn set_peer(&self, node: NodeId, address: impl Into<String>) {
        let address = address.into();
        let mut peers = self.shared.peers.write();
        if self.shared.stop.is_cancelled()
            || peers.get(&node).is_some_and(|peer| peer.address == address)
        {
            return;
        }

        let queues = EachLane::new(|lane| Arc::new(CallQueue::new(lane)));
        let close = self.shared.stop.child_token();
        let peer = Arc::new(Peer { node, address, queues, met: Mutex::new(None), close });
        let old = peers.insert(node, peer);
        drop(peers);
        if let Some(old) = old {
            self.shared.close(&old);
        }
    }

    /// Calls `node` no longer; open calls fail as in [`Link::set_peer`]. Its own calls are still
    /// served: who is a member of a group is not decided here.
    pub fn remove_peer(&self, node: NodeId) {
        let old = self.shared.peers.write().remove(&node);
        if let Some(old) = old {
            self.shared.close(&old);
        }
    }

    /// Calls `to`, within `timeout` (at most [`caps::CALL_TIME_MAX`]). The request is queued when
    /// this returns, not only when the future is polled: calls of one lane reach the peer's
    /// service in the order in which they were made, as long as the connection lasts. Dropping
    /// the future cancels the call, here and at the peer.
    ///
    /// # Errors
    /// [`CallError`] says whether nothing happened, nobody knows, or the peer refused.
    pub fn call(
        &self,
        to: NodeId,
        lane: Lane,
        group: &str,
        request: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<> {
        let deadline = Instant::now() + timeout.min(caps::CALL_TIME_MAX);
        let entered = self.enter(to, lane, group, request);
        async move {
            let Entered { ticket, mut answer, .. } = entered.map_err(CallError::NotSent)?;
            if let Ok(answered) = timeout_at(deadline, &mut answer).await {
                ticket.answered();
                return answered.unwrap_or_else(|_| Err(unanswered()));
            }
            match ticket.expire() {
                Some(error) => Err(error),
                None => answer.await.unwrap_or_else(|_| Err(unanswered())),
            }
        }
    }

    /// Puts a call into its lane, which is dialled if need be.
    fn enter(
        &self,
        to: NodeId,
        lane: Lane,
        group: &str,
        request: Bytes,
    ) -> Result<Entered, NotSent> {
        if group.is_empty() || group.len() > caps::GROUP_NAME_BYTES_MAX {
            return Err(NotSent::GroupName);
        }

        let max = body_bytes_max(lane.caps().frame_bytes_max, 1 + group.len());
        if request.len() > max {
            return Err(NotSent::TooLarge { bytes: request.len(), max });
        }

        let peers = self.shared.peers.read();
        let Some(peer) = peers.get(&to) else {
            return Err(if self.shared.stop.is_cancelled() {
                NotSent::Shutdown
            } else {
                NotSent::NoPeer
            });
        };

        let entered = peer.queues.get(lane).enter(group, request)?;
        if entered.start {
            // Under the lock, so that a shutdown waits for it.
            self.shared.spawn(dial::run(Arc::clone(&self.shared), Arc::clone(peer), lane));
        }

        Ok(entered)
    }

    /// Looks whether `node` answers at `address` (`host:port`) as the node of this cluster that it
    /// should be. It makes a connection of its own for that, and leaves alone where the node is
    /// called and the connections that there are.
    ///
    /// # Errors
    /// [`ProbeError`] says who answered instead, or that nobody did.
    pub async fn probe(&self, node: NodeId, address: &str) -> Result<(), ProbeError> {
        dial::probe(&self.shared, node, address).await
    }

    /// Every peer and how it is connected.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = |peer: &Arc<Peer>| PeerStatus {
            node: peer.node,
            address: peer.address.clone(),
            met: *peer.met.lock(),
            lanes: Lane::ALL.into_iter().map(|lane| peer.queues.get(lane).status()).collect(),
        };
        self.shared.peers.read().values().map(status).collect()
    }

    /// The feature level that a peer supports, as it said when it was met last.
    pub fn feature_level(&self, node: NodeId) -> Option<u32> {
        let met = *self.shared.peers.read().get(&node)?.met.lock();
        met.map(|met| met.feature_level)
    }

    /// Connections that other nodes hold to this one.
    pub fn connections(&self) -> usize {
        self.shared.known.connections()
    }

    /// Tasks of this link that are alive. 0 after [`Link::shutdown`].
    pub fn tasks(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Closes every connection and waits until all tasks have ended. Open calls fail with
    /// [`Lost::Shutdown`] or [`NotSent::Shutdown`]; requests that are being handled are
    /// dropped.
    pub async fn shutdown(&self) {
        let peers = {
            let mut peers = self.shared.peers.write();
            self.shared.stop.cancel();
            std::mem::take(&mut *peers)
        };
        for peer in peers.values() {
            self.shared.close(peer);
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("me", &self.shared.me)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Every call is settled before its sender is dropped; should one not be, nobody knows what became
/// of it.
fn unanswered() -> CallError {
    CallError::Lost(Lost::Broken("the call was given up".to_owned()))
}
