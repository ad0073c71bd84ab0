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

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt};
use parking_lot::{Mutex, RwLock};
use ratequeue_link::{CallError, Link, LinkError, LinkOptions, NotSent, ProbeError};
use tokio::sync::{mpsc, oneshot};

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

/// Why a call was not taken. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallRefused(pub String);

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

/// A stream that comes in.
struct Incoming {
    number: u64,
    frames: mpsc::Sender<(Bytes, Option<oneshot::Sender<Bytes>>)>,
    answers: Answers,
}

/// Who waits for the group's answers, in the order of the frames; `None` once the stream has ended.
type Answers = Arc<Mutex<Option<VecDeque<oneshot::Sender<Bytes>>>>>;

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

/// What other nodes may ask of this one. It does not keep the groups alive.
struct Service(Weak<Shared>);

impl ratequeue_link::Service for Service {
    fn handle(
        &self,
        from: NodeId,
        lane: Lane,
        group: &str,
        mut request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let refuse = |why: &str| std::future::ready(Err(why.to_owned())).boxed();
        let Some(shared) = self.0.upgrade() else { return refuse("this node is stopping") };
        if group == NODE {
            return match (lane, shared.calls.get().and_then(Weak::upgrade)) {
                (Lane::Control, _) => std::future::ready(Ok(Bytes::new())).boxed(),
                (Lane::Call, Some(calls)) => {
                    calls.handle(from, request).map_err(|refused| refused.to_string()).boxed()
                }
                (Lane::Call | Lane::Log | Lane::Bulk | Lane::Forward, _) => {
                    refuse("this node takes no such calls")
                }
            };
        }

        let Some(found) = shared.groups.read().get(group).cloned() else {
            return refuse(&format!("group {group} is not open here"));
        };

        let Ok(kind) = request.try_get_u8() else { return refuse("an empty request") };
        if kind == ALONE {
            return if lane == Lane::Forward {
                async move { found.receive_forwarded(request).await }.boxed()
            } else {
                async move { Ok(found.receive(request).await) }.boxed()
            };
        }

        let Ok(number) = request.try_get_u64_le() else {
            return refuse("a stream without its number");
        };

        match kind {
            ITEM => shared.item(from, lane, &found, number, request),
            END => shared.end(from, lane, &found, number),
            _ => refuse("a request of an unknown kind"),
        }
    }
}

impl Shared {
    /// Takes a frame of a stream, the first of which opens it. What must be in order is done when
    /// this returns.
    fn item(
        &self,
        from: NodeId,
        lane: Lane,
        group: &Group,
        number: u64,
        frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let refuse = |why: &str| std::future::ready(Err(why.to_owned())).boxed();
        let mut incoming = self.incoming.lock();
        let key = (from, lane, group.name().to_owned());
        let known = incoming.get(&key).map(|stream| stream.number);

        if known.is_some_and(|known| {
            known > number && known >> SESSION_SHIFT == number >> SESSION_SHIFT
        }) {
            return refuse("a newer stream has taken the place of this one");
        }

        if known != Some(number) {
            incoming.insert(key.clone(), open(group, lane, number));
        }

        let Some(stream) = incoming.get(&key) else { return refuse("the stream is gone") };
        let (answer, answered) = oneshot::channel();
        let taken = if lane == Lane::Bulk {
            stream.frames.try_send((frame, Some(answer)))
        } else {
            match &mut *stream.answers.lock() {
                Some(answers) => answers.push_back(answer),
                None => return refuse("the stream has ended"),
            }
            stream.frames.try_send((frame, None))
        };

        if taken.is_err() {
            incoming.remove(&key);
            return refuse("the stream has ended, or is too far ahead");
        }

        async move { answered.await.map_err(|_gone| "the stream has ended".to_owned()) }.boxed()
    }

    /// Ends a stream; on the bulk lane this is what the answer comes to.
    fn end(
        &self,
        from: NodeId,
        lane: Lane,
        group: &Group,
        number: u64,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let mut incoming = self.incoming.lock();
        let key = (from, lane, group.name().to_owned());
        if incoming.get(&key).is_none_or(|stream| stream.number != number) {
            return std::future::ready(Ok(Bytes::new())).boxed();
        }

        let Some(stream) = incoming.remove(&key) else {
            return std::future::ready(Ok(Bytes::new())).boxed();
        };

        drop(incoming);
        if lane != Lane::Bulk {
            return std::future::ready(Ok(Bytes::new())).boxed();
        }

        let (answer, answered) = oneshot::channel();
        match &mut *stream.answers.lock() {
            Some(answers) => answers.push_back(answer),
            None => return std::future::ready(Err("the stream has ended".to_owned())).boxed(),
        }

        async move { answered.await.map_err(|_gone| "the stream was given up".to_owned()) }.boxed()
    }
}

/// Gives a stream to its group; what the group answers goes to whoever waits, in order.
fn open(group: &Group, lane: Lane, number: u64) -> Incoming {
    let (frames, coming) =
        mpsc::channel::<(Bytes, Option<oneshot::Sender<Bytes>>)>(caps::STREAM_FRAMES_MAX);
    let coming = stream::unfold(coming, |mut coming| async {
        let (frame, taken) = coming.recv().await?;
        // The sender may have given up.
        taken.map(|taken| taken.send(Bytes::new()));
        Some((frame, coming))
    });

    let mut said = group.receive_stream(lane, coming.boxed());
    let answers: Answers = Arc::new(Mutex::new(Some(VecDeque::new())));
    let waiting = Arc::clone(&answers);

    tokio::spawn(async move {
        while let Some(frame) = said.next().await {
            let next = waiting.lock().as_mut().and_then(VecDeque::pop_front);
            match next {
                Some(next) => drop(next.send(frame)),
                // On the bulk lane a refusal can come before the end: whoever asks next learns that
                // it is over.
                None => break,
            }
        }
        // Drops whoever still waits, who are told that the stream has ended.
        *waiting.lock() = None;
    });
    Incoming { number, frames, answers }
}
