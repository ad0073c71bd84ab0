//! Where streams between nodes are made: the only place that knows they are TCP.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::caps;

pub(crate) type Source = OwnedReadHalf;
pub(crate) type Sink = OwnedWriteHalf;

/// Opens a connection to `address` (`host:port`).
pub(crate) async fn dial(address: &str) -> io::Result<(Source, Sink)> {
    secure(TcpStream::connect(address).await?).await
}

/// Makes a stream of a connection, whichever side opened it. This is where TLS goes: both sides pass through here, under
/// the time limit of the handshake or of connecting.
#[expect(clippy::unused_async, reason = "a TLS handshake waits")]
pub(crate) async fn secure(tcp: TcpStream) -> io::Result<(Source, Sink)> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(&tcp);
    let keepalive = TcpKeepalive::new().with_time(caps::KEEPALIVE_IDLE).with_interval(caps::KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(caps::UNACKNOWLEDGED_MAX))?;
    Ok(tcp.into_split())
}
