//! Where a server listens, as its user should know it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Warns of an address that strangers may reach: a server has neither keys nor TLS.
pub fn warn_if_open(address: SocketAddr, flag: &str) {
    if is_open(address.ip()) {
        tracing::warn!(
            "{address} is open: who reaches it may do everything, for there are no API keys and no TLS. Keep it behind a firewall, or \
             give an address of a private network with {flag}"
        );
    }
}

/// Whether addresses of the internet reach it: it is one, or stands for all that the machine has.
fn is_open(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

/// An address at which it can be called from this machine: of one that stands for all there are, the loopback one.
pub fn callable(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_not_open() {
        for (ip, open) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("192.168.0.1", false),
            ("169.254.1.1", false),
            ("::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::ffff:127.0.0.1", false),
            ("0.0.0.0", true),
            ("::", true),
            ("8.8.8.8", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(is_open(ip.parse().unwrap()), open, "{ip}");
        }
    }

    #[test]
    fn all_addresses_are_called_at_loopback() {
        for (listens, callable_at) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(callable(listens.parse().unwrap()), callable_at.parse().unwrap());
        }
    }
}
