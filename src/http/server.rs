//! The HTTP server: connections with bounds in number, size and time, and a stop that answers everybody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::linger::{Linger, LingeringStream};
use crate::node::Node;

/// Connections that are open at once. More wait to be accepted.
const CONNECTIONS_MAX: usize = 20_000;
/// How long the head of a request may take to arrive; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// How long calls may go on after the node was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause after a failed accept, which mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes an address, or says what is in the way.
///
/// # Errors
/// A text for the person who started the node.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            format!("{address} is in use by another process: stop it, or choose another address with --http")
        } else {
            format!("cannot listen on {address}: {error}")
        }
    })
}

/// Serves until the node stops, then lets the calls that are under way end.
pub async fn serve(node: Arc<Node>, router: Router, listener: TcpListener) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);

    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = node.stopping() => break,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };

        let linger = Linger::default();
        let service = TowerToHyperService::new(router.clone());
        let stream = LingeringStream::new(stream, linger.clone());
        let service =
            service_fn(move |request: hyper::Request<Incoming>| answer(service.call(request), linger.clone()));
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A connection that breaks off is its client's business.
            let _ = connection.await;
            drop(permit);
        });
    }

    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls did not end in time");
    }
}

/// Awaits an answer; one that closes the connection leaves the rest of its request unread.
async fn answer<B, E>(
    call: impl Future<Output = Result<hyper::Response<B>, E>>,
    linger: Linger,
) -> Result<hyper::Response<B>, E> {
    let response = call.await?;
    if response.headers().contains_key(header::CONNECTION) {
        linger.set();
    }
    Ok(response)
}

type Permit = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<(TcpStream, Permit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}
