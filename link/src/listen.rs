//! Where a node listens: one address, all of a host, or every interface.
//!
//! ```text
//!   :7600             every interface, IPv6 and IPv4
//!   localhost:7600    each address that the name resolves to; at least one must be of this machine
//!   10.0.0.7:7600     that address. Port 0 takes a free one
//! ```

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::warn;

use super::caps;
use super::host::{Host, HostName, HostPort, InvalidHost, before_port, split};
use super::resolve;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// On every interface.
    Everywhere(u16),
    /// At one address, also at that of every interface.
    At(SocketAddr),
    /// At each address of a name.
    Named(HostName, u16),
}

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Where it was to listen.
    pub address: ListenAddress,
    /// What the system said.
    pub source: io::Error,
}

/// The sockets on which a node listens. Not empty, and all have the same port.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    address: SocketAddr,
    /// Which socket is looked at first: each in turn, so that a busy one does not silence another.
    next: AtomicUsize,
}

impl ListenAddress {
    /// Begins to listen. While a name does not resolve, or to no address of this machine, it waits:
    /// a name may be given to a machine after its processes are started.
    ///
    /// # Errors
    /// [`ListenError`] for whatever waiting does not mend, as a port that is in use.
    pub async fn bind(&self) -> Result<Listeners, ListenError> {
        let mut said = String::new();
        loop {
            let error = match self.bind_now().await {
                Ok(listeners) => return Ok(listeners),
                Err(error) if self.may_come(&error) => error.to_string(),
                Err(source) => return Err(ListenError { address: self.clone(), source }),
            };
            if error != said {
                warn!(
                    "waiting to listen on {self}: {error}. To listen elsewhere: --http :PORT, --peer :PORT"
                );
                said = error;
            }
            sleep(caps::LISTEN_PAUSE).await;
        }
    }

    /// The address, where there is one: a name may have any.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Everywhere(_) => Some(Ipv6Addr::UNSPECIFIED.into()),
            Self::At(address) => Some(address.ip()),
            Self::Named(..) => None,
        }
    }

    fn may_come(&self, error: &io::Error) -> bool {
        matches!(self, Self::Named(..))
            && matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::AddrNotAvailable)
    }

    async fn bind_now(&self) -> io::Result<Listeners> {
        let (first, rest) = match self {
            Self::Everywhere(port) => (bind_everywhere(*port)?, Vec::new()),
            Self::At(address) => (TcpListener::bind(address).await?, Vec::new()),
            Self::Named(name, port) => bind_each(resolve::addresses_of(name, *port).await?).await?,
        };
        let address = first.local_addr()?;
        let sockets = std::iter::once(first).chain(rest).collect();
        Ok(Listeners { sockets, address, next: AtomicUsize::new(0) })
    }
}

/// Every interface, of both families; of IPv4 alone where there is no IPv6.
fn bind_everywhere(port: u16) -> io::Result<TcpListener> {
    let bind = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        if ip.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(caps::LISTEN_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };

    match bind(Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind(Ipv4Addr::UNSPECIFIED.into())
        }
        bound => bound,
    }
}

/// Each of these addresses that is of this machine. Where another process listens, nobody could
/// tell who answers: that is an error, whatever else could be bound.
async fn bind_each(addresses: Vec<SocketAddr>) -> io::Result<(TcpListener, Vec<TcpListener>)> {
    let (mut bound, mut failed) = (Vec::<TcpListener>::new(), None);
    let mut port = None;
    for mut address in addresses {
        address.set_port(port.unwrap_or(address.port()));
        match TcpListener::bind(address).await {
            Ok(listener) => {
                port = Some(listener.local_addr()?.port());
                bound.push(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                failed = Some(io::Error::new(error.kind(), format!("{}: {error}", address.ip())))
            }
        }
    }

    let mut bound = bound.into_iter();
    match (bound.next(), failed) {
        (Some(first), _) => Ok((first, bound.collect())),
        (None, failed) => Err(failed.unwrap_or_else(|| io::Error::other("it has no address"))),
    }
}

impl Listeners {
    /// The address of the first socket: its port is that of all.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next connection on any of the sockets.
    ///
    /// # Errors
    /// What the system says about one of them.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let from = self.next.fetch_add(1, Ordering::Relaxed) % self.sockets.len().max(1);
        let in_turn = || self.sockets.iter().cycle().skip(from).take(self.sockets.len());
        poll_fn(|context| {
            let accepted = in_turn().map(|socket| socket.poll_accept(context));
            accepted.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }
}

impl From<HostPort> for ListenAddress {
    fn from(HostPort { host, port }: HostPort) -> Self {
        match host {
            Host::Ip(ip) => Self::At(SocketAddr::new(ip, port.get())),
            Host::Name(name) => Self::Named(name, port.get()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        let (host, port) = split(text)?;
        if host.is_empty() {
            return Ok(Self::Everywhere(port));
        }
        Ok(match before_port(host)? {
            Host::Ip(ip) => Self::At(SocketAddr::new(ip, port)),
            Host::Name(name) => Self::Named(name, port),
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::At(address) => write!(f, "{address}"),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn listen(text: &str) -> ListenAddress {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A connection to `address` comes out of the listeners.
    async fn answers(listeners: &Listeners, address: SocketAddr) {
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listeners.accept());
        assert_eq!(
            connected.unwrap().local_addr().unwrap().port(),
            accepted.unwrap().1.port(),
            "at {address}"
        );
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in [
            ":7600",
            ":0",
            "0.0.0.0:7600",
            "[::]:7600",
            "127.0.0.1:0",
            "[::1]:7600",
            "localhost:7600",
        ] {
            assert_eq!(listen(text).to_string(), text);
        }

        for (text, words) in [
            ("7600", "has no port"),
            ("localhost", "has no port"),
            ("*:7600", "no host name"),
            ("::1:7600", "brackets"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_port_alone_is_every_interface_of_both_families() {
        let listeners = listen(":0").bind().await.unwrap();
        for ip in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
            Ipv4Addr::new(127, 3, 2, 1).into(),
        ] {
            answers(&listeners, SocketAddr::new(ip, listeners.address().port())).await;
        }
    }

    #[tokio::test]
    async fn a_name_is_each_of_its_addresses() {
        let listeners = listen("localhost:0").bind().await.unwrap();
        let port = listeners.address().port();
        for address in resolve::addresses(&Host::localhost(), port).await.unwrap() {
            answers(&listeners, address).await;
        }
    }

    /// The second is of no interface of this machine: TEST-NET-1, RFC 5737.
    #[tokio::test]
    async fn one_address_that_is_not_here_is_no_failure_when_another_is() {
        let [here, there] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)]
            .map(|ip| SocketAddr::new(ip.into(), 0));
        let (first, rest) = bind_each(vec![there, here]).await.unwrap();
        assert!(first.local_addr().unwrap().ip().is_loopback() && rest.is_empty());
        let error = bind_each(vec![there]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_is_in_use_is_a_failure() {
        let listeners = listen(":0").bind().await.unwrap();
        let port = listeners.address().port();
        for text in [format!(":{port}"), format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
            let error = listen(&text).bind().await.unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse, "{error}");
            assert!(error.to_string().contains(&text), "{error}");
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_waited_for() {
        let address = listen("node-1.invalid:7600");
        let waiting = address.bind();
        assert!(
            tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err(),
            "it waits"
        );
    }
}
