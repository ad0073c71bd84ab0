//! The HTTP server: connections with bounds in number, size and time, and a stop that answers
//! everybody.
//!
//! ```text
//!  accept ──> a seat is free ──────────────────────> serve, until idle for long or evicted
//!         ──> none: the longest idle one is evicted ──^
//!         ──> all are busy: surplus ──> health, or "too many connections"; closed soon
//! ```
//! It serves from the moment the address is taken. Until the node has opened its folder it answers
//! for its health, and refuses everything else.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ratequeue_api::ErrorCode;
use ratequeue_link::{ListenAddress, ListenError, Listeners};
use ratequeue_raft::NodeId;
use ratequeue_storage::is_out_of_descriptors;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::explain::ExplainingStream;
use super::idle::{Connection, Idle};
use super::linger::{Linger, LingeringStream};
use super::problem::Failure;
use super::stall::StallingStream;
use crate::node::descriptors::{self, Descriptors};

/// How long the head of a request may take to arrive; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of the head of a request.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 64;
/// How long calls may go on after the node was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are given up for good when there are no descriptors left, for the log to have
/// them.
const SEATS_GIVEN_UP: usize = 8;
/// How long a new connection waits for the seat of one that was evicted.
const EVICTION_TIME: Duration = Duration::from_millis(100);
/// How long a connection beyond the bound may take, in all.
const SURPLUS_TIME: Duration = Duration::from_secs(2);
/// Idle time of a connection before the first TCP keep-alive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered probes after which the connection is closed.
const KEEPALIVE_RETRIES: u32 = 3;
/// A connection whose client acknowledges nothing of what was sent is closed after so long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// What is answered also while the node opens its folder, and when there are too many connections.
pub const HEALTH: [&str; 3] = ["/healthz", "/startupz", "/readyz"];

/// Takes an address, or says what is in the way.
///
/// # Errors
/// When the address cannot be listened at.
pub async fn bind(address: &ListenAddress) -> Result<Listeners, BindError> {
    let bound = address.bind().await;
    bound.map_err(|error| {
        let is_in_use = error.source.kind() == io::ErrorKind::AddrInUse;
        if is_in_use { BindError::InUse(address.clone()) } else { BindError::Listen(error) }
    })
}

/// Why a node cannot listen for its callers.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("{0} is in use by another process: stop it, or choose another address with --http")]
    InUse(ListenAddress),
    /// The address cannot be had for another reason.
    #[error(transparent)]
    Listen(ListenError),
}

/// What a node answers: for its health at first, and everything once it is open.
#[derive(Debug)]
pub struct Server {
    node: NodeId,
    router: OnceLock<TowerToHyperService<Router>>,
    closing: watch::Sender<bool>,
    seats: Seats,
}

impl Server {
    /// The server of a node that is not open yet.
    pub fn new(node: NodeId, descriptors: Descriptors) -> Self {
        Self {
            node,
            router: OnceLock::new(),
            closing: watch::Sender::new(false),
            seats: Seats::new(descriptors),
        }
    }

    /// From now on everything is answered.
    pub fn open(&self, router: Router) {
        // It is opened once.
        let _ = self.router.set(TowerToHyperService::new(router));
    }

    /// No connection is accepted any more; those that are there end with the call that is under
    /// way.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Serves until it is closed, then lets the calls that are under way end.
    pub async fn run(self: Arc<Self>, listeners: Listeners) {
        let mut closing = self.closing.subscribe();
        let mut is_accepting = true;
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listeners) => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            match accepted {
                Ok((stream, place)) => {
                    is_accepting = true;
                    let closing = closing.clone();
                    let server = Arc::clone(&self);
                    tokio::spawn(async move { server.serve(stream, place, closing).await });
                }
                Err(error) => {
                    if std::mem::take(&mut is_accepting) {
                        tracing::warn!(%error, "no connection can be accepted: tried again every 50 ms");
                    }
                    if is_out_of_descriptors(&error) {
                        self.seats.give_up().await;
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }

        drop((listeners, closing));
        // Each connection watches it, to its end.
        if tokio::time::timeout(STOP_TIMEOUT, self.closing.closed()).await.is_err() {
            tracing::warn!("some calls did not end in time");
        }
    }

    async fn accept(&self, listeners: &Listeners) -> io::Result<(TcpStream, Place)> {
        let (stream, _) = listeners.accept().await?;
        // One that has been closed already refuses it, which is no reason to accept no other.
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection could not be prepared");
        }
        Ok((stream, self.seats.place().await))
    }

    /// Serves one connection to its end.
    async fn serve(&self, stream: TcpStream, place: Place, closing: watch::Receiver<bool>) {
        let is_surplus = matches!(place, Place::Surplus(_));
        let served = self.serve_requests(stream, is_surplus, closing);
        if is_surplus {
            // Whether it has got its answer or not.
            let _ = tokio::time::timeout(SURPLUS_TIME, served).await;
        } else {
            served.await;
        }
    }

    async fn serve_requests(
        &self,
        stream: TcpStream,
        is_surplus: bool,
        mut closing: watch::Receiver<bool>,
    ) {
        let connection = Arc::new(Connection::new(&self.seats.idle));
        if is_surplus {
            connection.is_busy();
        }
        let linger = Linger::default();
        let service = service_fn(|request| async {
            connection.is_busy();
            let response = self.answer(request, is_surplus).await;
            if response.headers().contains_key(header::CONNECTION) {
                linger.set();
            }
            Ok::<_, Infallible>(if is_surplus {
                response
            } else {
                idle_after(response, Arc::clone(&connection))
            })
        });

        let stream = LingeringStream::new(StallingStream::new(stream), linger.clone());
        let stream = TokioIo::new(ExplainingStream::new(stream, self.node));
        let mut builder = Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(!is_surplus);
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let mut serving = pin!(builder.serve_connection(stream, service));

        // A connection that breaks off is its client's business.
        tokio::select! {
            _ = serving.as_mut() => return,
            () = connection.evicted() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }

    async fn answer(&self, request: hyper::Request<Incoming>, is_surplus: bool) -> Response {
        let is_health = HEALTH.contains(&request.uri().path());
        let failure = match self.router.get() {
            Some(router) if is_health || !is_surplus => match router.call(request).await {
                Ok(response) => return response,
                Err(never) => match never {},
            },
            None if request.uri().path() == "/healthz" => return super::ALIVE.into_response(),
            None => Failure::new(
                ErrorCode::NoQuorum,
                "This node is opening its data folder: try again in a moment, or at another node.",
            ),
            Some(_) => Failure::too_many_connections(),
        };
        super::refusal(self.node, request.headers(), failure)
    }
}

/// The connection is idle once the response is made; after a stream, once that has ended.
fn idle_after(response: Response, connection: Arc<Connection>) -> Response {
    if response.body().size_hint().exact().is_some() {
        connection.is_idle();
        return response;
    }
    let busy = BusyUntilDropped(connection);
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &busy;
            frame
        }))
    })
}

/// A connection that is busy with a stream.
struct BusyUntilDropped(Arc<Connection>);

impl Drop for BusyUntilDropped {
    fn drop(&mut self) {
        self.0.is_idle();
    }
}

/// Has the system find out when the client of a connection is gone.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// What a connection occupies until it ends.
#[derive(Debug)]
enum Place {
    /// One of the connections that there may be.
    Seat(#[expect(dead_code, reason = "held until the connection ends")] OwnedSemaphorePermit),
    /// One beyond them, for a moment.
    Surplus(#[expect(dead_code, reason = "held until the connection ends")] OwnedSemaphorePermit),
}

/// How many connections there may be.
#[derive(Debug)]
struct Seats {
    free: Arc<Semaphore>,
    surplus: Arc<Semaphore>,
    idle: Arc<Idle>,
}

impl Seats {
    fn new(descriptors: Descriptors) -> Self {
        let semaphore =
            |permits: u32| Arc::new(Semaphore::new(usize::try_from(permits).unwrap_or(usize::MAX)));
        Self {
            free: semaphore(descriptors.connections),
            surplus: semaphore(descriptors::SURPLUS),
            idle: Arc::default(),
        }
    }

    /// A place for a connection that was accepted. It waits only while all surplus ones are taken,
    /// which end soon.
    async fn place(&self) -> Place {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Place::Seat(permit);
        }
        let seat = Arc::clone(&self.free).acquire_owned();
        if self.idle.evict().await
            && let Ok(Ok(permit)) = tokio::time::timeout(EVICTION_TIME, seat).await
        {
            return Place::Seat(permit);
        }

        let seat = Arc::clone(&self.free).acquire_owned();
        let surplus = Arc::clone(&self.surplus).acquire_owned();
        // Neither semaphore is ever closed.
        tokio::select! {
            biased;
            Ok(permit) = seat => Place::Seat(permit),
            Ok(permit) = surplus => Place::Surplus(permit),
            else => std::future::pending().await,
        }
    }

    /// Leaves some descriptors to the rest of the process: there are fewer than was thought.
    async fn give_up(&self) {
        for _ in 0..SEATS_GIVEN_UP {
            match Arc::clone(&self.free).try_acquire_owned() {
                Ok(permit) => permit.forget(),
                Err(_) => drop(self.idle.evict().await),
            }
        }
    }
}
