//! The groups of this node on its peer link: one [`Link`] carries them all, and calls that are for
//! the node itself.
//!
//! A link knows calls only. A stream is a run of calls that carry its number, in order: the link
//! keeps their order, and the answers come back with them.
//!
//! ```text
//!  first byte of a request
//!  0   a frame by itself
//!  1   a frame of a stream     u64 number of the stream, then the frame
//!  2   the end of a stream     u64 number of the stream
//! ```
//! On the log lane each frame is answered by the group; on the bulk lane a frame is answered when
//! it was taken, and the end with what the group says to it all. A new stream of a node ends its
//! older ones on that lane of that group: it makes one when the last has failed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use parking_lot::{Mutex, RwLock};
use ratequeue_link::{CallError, CallRefused, Link, LinkError, LinkOptions, NotSent, ProbeError};
use tokio::sync::mpsc;

mod serve;

use self::serve::{Incoming, Service};
use crate::caps;
use crate::group::Group;
use crate::node::{Address, NodeId};
use crate::transport::{Lane, Responses, Target, Transport, TransportError};

const ALONE: u8 = 0;
const ITEM: u8 = 1;
const END: u8 = 2;

/// The number of a stream holds the number of its process above this bit. Only streams of one
/// process are older or newer.
const SESSION_SHIFT: u32 = 32;

/// The groups of this node on its peer link. It is the [`Transport`] of each of them.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

/// What a node answers to another beyond its groups: calls that are for whoever serves there.
pub trait Calls: Send + Sync + 'static {
    /// Answers a call, or says why not. The future is dropped when the caller has gone.
    fn handle(&self, from: NodeId, frame: Bytes) -> BoxFuture<'static, Result<Bytes, CallRefused>>;
}

struct Shared {
    link: OnceLock<Link>,
    calls: OnceLock<Weak<dyn Calls>>,
    /// Where nodes are, whatever a group's membership says of them.
    addresses: RwLock<BTreeMap<NodeId, Address>>,
    groups: RwLock<BTreeMap<String, Group>>,
    /// The number of the next stream that this node sends: a number of this process, made by
    /// chance, and a count.
    streams_made: AtomicU64,
    /// Of the streams that come in: one for each node, lane and group.
    incoming: Mutex<BTreeMap<(NodeId, Lane, String), Incoming>>,
}

impl Peers {
    /// Listens for the other nodes.
    ///
    /// # Errors
    /// [`LinkError`] when the options are not valid or the address cannot be listened on.
    pub async fn start(options: LinkOptions) -> Result<Self, LinkError> {
        let shared = Arc::new(Shared {
            link: OnceLock::new(),
            calls: OnceLock::new(),
            addresses: RwLock::default(),
            groups: RwLock::default(),
            streams_made: AtomicU64::new(u64::from(rand::random::<u32>()) << SESSION_SHIFT),
            incoming: Mutex::default(),
        });
        let link = Link::start(options, Arc::new(Service(Arc::downgrade(&shared)))).await?;
        // It was empty until now, and nobody else has it.
        let _ = shared.link.set(link);
        Ok(Self { shared })
    }

    /// Lets the other nodes reach a group from now on.
    pub fn open(&self, group: Group) {
        self.shared.groups.write().insert(group.name().to_owned(), group);
    }

    /// Lets `calls` answer what other nodes [`Peers::call_node`], for as long as somebody else
    /// keeps it. Once.
    pub fn serve(&self, calls: Weak<dyn Calls>) {
        // A second one would be a mistake that changes nothing.
        let _ = self.shared.calls.set(calls);
    }

    /// Says where nodes are. From then on that counts for every group: two groups may know a node
    /// by different addresses, and a stream goes on with the one that it was begun with.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeId, Address>) {
        *self.shared.addresses.write() = addresses;
    }

    /// Calls another node itself, rather than one of its groups. Dropping the future cancels the
    /// call there too.
    ///
    /// # Errors
    /// [`TransportError`] says whether the call may have arrived.
    pub async fn call_node(
        &self,
        node: NodeId,
        address: &Address,
        frame: Bytes,
        limit: Duration,
    ) -> Result<Bytes, TransportError> {
        self.shared.call(&itself(node, address), Lane::Call, frame, limit).await
    }

    /// How long a node takes to answer.
    ///
    /// # Errors
    /// [`TransportError`] when it does not within `limit`.
    pub async fn ping(
        &self,
        node: NodeId,
        address: &Address,
        limit: Duration,
    ) -> Result<Duration, TransportError> {
        let since = Instant::now();
        self.shared.call(&itself(node, address), Lane::Control, Bytes::new(), limit).await?;
        Ok(since.elapsed())
    }

    /// Looks whether a node answers at an address, whatever is known of where it is. What is open
    /// to it is not touched.
    ///
    /// # Errors
    /// [`ProbeError`] says who answered instead, or that nobody did.
    pub async fn probe(&self, node: NodeId, address: &str) -> Result<(), ProbeError> {
        match self.shared.link.get() {
            Some(link) => link.probe(node, address).await,
            None => Err(ProbeError::not_started()),
        }
    }

    /// Ends all connections.
    pub async fn shutdown(&self) {
        self.shared.groups.write().clear();
        self.shared.incoming.lock().clear();
        if let Some(link) = self.shared.link.get() {
            link.shutdown().await;
        }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

/// Stands where a group is named, for what concerns the node. No group can have this name.
const NODE: &str = "*";

fn itself(node: NodeId, address: &Address) -> Target {
    Target { group: NODE.to_owned(), node, address: address.clone() }
}

fn transport_error(error: CallError) -> TransportError {
    match error {
        CallError::NotSent(NotSent::QueueFull) => TransportError::Overloaded,
        CallError::NotSent(_) => TransportError::Unreachable(error.to_string()),
        CallError::Lost(_) => TransportError::Broken(error.to_string()),
        // A refusal comes before the group has seen the frame: whatever the group itself says is an
        // answer.
        CallError::Refused { reason } => TransportError::Unreachable(reason),
    }
}

fn request(kind: u8, number: Option<u64>, frame: &Bytes) -> Bytes {
    let mut request = BytesMut::with_capacity(frame.len() + 9);
    request.put_u8(kind);
    number.into_iter().for_each(|number| request.put_u64_le(number));
    request.extend_from_slice(frame);
    request.freeze()
}

impl Shared {
    /// The request is queued when this returns.
    fn call(
        &self,
        to: &Target,
        lane: Lane,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let Some(link) = self.link.get() else {
            let error = TransportError::Unreachable("the link has not started".to_owned());
            return std::future::ready(Err(error)).boxed();
        };
        // The first word of an address is where the node talks to others; what follows is not for
        // us.
        let addresses = self.addresses.read();
        let address = addresses.get(&to.node).unwrap_or(&to.address);
        link.set_peer(to.node, address.0.split(' ').next().unwrap_or_default());
        drop(addresses);
        let answer = link.call(to.node, lane, &to.group, request, limit);
        answer.map(|answer| answer.map_err(transport_error)).boxed()
    }
}

impl Transport for Peers {
    fn feature_level(&self, node: NodeId) -> Option<u32> {
        self.shared.link.get()?.feature_level(node)
    }

    fn call(
        &self,
        to: &Target,
        lane: Lane,
        frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        self.shared.call(to, lane, request(ALONE, None, &frame), caps::PEER_CALL_TIMEOUT)
    }

    fn stream(
        &self,
        to: &Target,
        lane: Lane,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Responses, TransportError>> {
        let number = self.shared.streams_made.fetch_add(1, Ordering::Relaxed);
        let (shared, to) = (Arc::clone(&self.shared), to.clone());
        let answers: Responses = if lane == Lane::Bulk {
            Box::pin(stream::once(send_bulk(shared, to, number, frames)))
        } else {
            let (calls, called) = mpsc::channel(caps::STREAM_FRAMES_MAX);
            tokio::spawn(send_log(shared, to, number, frames, calls));
            let answers = stream::unfold(called, |mut called| async {
                Some((called.recv().await?.await, called))
            });
            Box::pin(answers)
        };
        std::future::ready(Ok(answers)).boxed()
    }
}

type Call = BoxFuture<'static, Result<Bytes, TransportError>>;

/// Sends the frames as they come; the calls are handed over in order. Ends when nobody wants the
/// answers any more.
async fn send_log(
    shared: Arc<Shared>,
    to: Target,
    number: u64,
    mut frames: BoxStream<'static, Bytes>,
    calls: mpsc::Sender<Call>,
) {
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = calls.closed() => None,
        };
        let Some(frame) = frame else { break };
        let Ok(place) = calls.reserve().await else { break };
        place.send(shared.call(
            &to,
            Lane::Log,
            request(ITEM, Some(number), &frame),
            caps::PEER_CALL_TIMEOUT,
        ));
    }

    // The other side would notice by itself when the next stream comes.
    let _ = shared
        .call(&to, Lane::Log, request(END, Some(number), &Bytes::new()), caps::PEER_CALL_TIMEOUT)
        .await;
}

/// Sends the frames, a few at a time, and gives the one answer to them all.
async fn send_bulk(
    shared: Arc<Shared>,
    to: Target,
    number: u64,
    frames: BoxStream<'static, Bytes>,
) -> Result<Bytes, TransportError> {
    let send = |frame: Bytes| {
        shared.call(&to, Lane::Bulk, request(ITEM, Some(number), &frame), caps::BULK_CALL_TIMEOUT)
    };
    let mut taken = frames.map(send).buffered(caps::BULK_FRAMES_IN_FLIGHT);
    while let Some(result) = taken.next().await {
        result?;
    }
    drop(taken);
    shared
        .call(&to, Lane::Bulk, request(END, Some(number), &Bytes::new()), caps::BULK_CALL_TIMEOUT)
        .await
}
