//! Where streams between nodes are made: the only place that knows they are TCP.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::host::{HostPort, InvalidHost};
use super::{caps, resolve};

pub(crate) type Source = OwnedReadHalf;
pub(crate) type Sink = OwnedWriteHalf;

/// Connections to a node, to all of its addresses at once: the first that comes about is given
/// first. Each address has its time of its own, so that one that swallows everything delays no
/// other.
pub(crate) struct Dialing {
    attempts: FuturesUnordered<BoxFuture<'static, io::Result<TcpStream>>>,
}

impl Dialing {
    /// Begins to connect to `places`: `host:port`, or several of them with commas. Names are looked
    /// up now, all at once.
    ///
    /// # Errors
    /// That no name resolves, or that a text is no address.
    pub(crate) async fn to(places: &str) -> io::Result<Self> {
        let found = join_all(places.split(',').take(caps::PLACES_MAX).map(addresses_of)).await;
        let (mut addresses, mut failed) = (BTreeSet::new(), None);
        for found in found {
            match found {
                Ok(found) => addresses.extend(found),
                Err(error) => failed = Some(error),
            }
        }
        if let (true, Some(error)) = (addresses.is_empty(), failed) {
            return Err(error);
        }
        Ok(Self {
            attempts: addresses.into_iter().map(|address| connect(address).boxed()).collect(),
        })
    }

    /// The next connection that came about, or why one did not; nothing when all addresses were
    /// tried.
    pub(crate) async fn next(&mut self) -> Option<io::Result<(Source, Sink)>> {
        let connected = self.attempts.next().await?;
        Some(async { secure(connected?).await }.await)
    }
}

async fn addresses_of(place: &str) -> io::Result<Vec<SocketAddr>> {
    let HostPort { host, port } =
        place.parse().map_err(|error: InvalidHost| io::Error::other(error.to_string()))?;
    resolve::addresses(&host, port.get()).await
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    let connected =
        timeout(caps::CONNECT_TIME_MAX, TcpStream::connect(address)).await.map_err(late).flatten();
    connected.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Makes a stream of a connection, whichever side opened it. This is where TLS goes: both sides
/// pass through here, under the time limit of the handshake.
#[expect(clippy::unused_async, reason = "a TLS handshake waits")]
pub(crate) async fn secure(tcp: TcpStream) -> io::Result<(Source, Sink)> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(&tcp);
    let keepalive =
        TcpKeepalive::new().with_time(caps::KEEPALIVE_IDLE).with_interval(caps::KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(caps::UNACKNOWLEDGED_MAX))?;
    Ok(tcp.into_split())
}
