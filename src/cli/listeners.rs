//! Where a server listens, as its user should know it.

use std::net::IpAddr;

use ratequeue_link::ListenAddress;

/// Warns of an address that strangers may reach: a server has neither keys nor TLS.
pub fn warn_if_open(address: &ListenAddress, ip: IpAddr, flag: &str) {
    if is_open(ip) {
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
}
