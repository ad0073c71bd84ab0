//! Addresses that nobody else uses, now and when a node comes back to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

/// Of the cluster file: where a node listens.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub http: SocketAddr,
    pub peer: SocketAddr,
}

impl Place {
    /// Where a node listens in a cluster that has this address for itself. Its ports are fixed:
    /// below those that the system gives to connections, so they are free whenever the node
    /// comes back.
    pub fn of(id: u64, ip: IpAddr) -> Self {
        let at = |base: u64| {
            SocketAddr::new(ip, u16::try_from(base + id).expect("an id of a few digits"))
        };
        Self { http: at(10_000), peer: at(20_000) }
    }
}

/// A loopback address for one cluster.
pub fn loopback() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!((1..255).contains(&nth), "a test process has addresses for 254 clusters");
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::from(Ipv4Addr::new(127, nth, high, low))
}
