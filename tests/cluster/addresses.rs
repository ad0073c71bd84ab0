//! Addresses that nobody else uses, now and when a node comes back to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

/// Of the cluster file: where a node listens.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub http: SocketAddr,
    pub peer: SocketAddr,
}

/// A loopback address for one cluster. No connection is ever made *from* it, so the port of a node that was killed is still
/// free when it comes back.
pub fn loopback() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed).clamp(1, 254);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::from(Ipv4Addr::new(127, nth, high, low))
}

/// Free ports at this address, all different.
pub fn places(ip: IpAddr, count: usize) -> Vec<Place> {
    // All are held until all are known.
    let bind = || TcpListener::bind((ip, 0)).unwrap();
    let listeners: Vec<_> = (0..count).map(|_| (bind(), bind())).collect();
    let at = |listener: &TcpListener| listener.local_addr().unwrap();
    listeners.iter().map(|(http, peer)| Place { http: at(http), peer: at(peer) }).collect()
}
