//! Hosts and ports, as people write them.
//!
//! ```text
//!   HostPort    10.0.0.7:7600   [fd00::7]:7600   node-1.example:7600     where others reach a node
//!   Host        10.0.0.7        fd00::7          node-1.example          the same without the port
//! ```
//! What parses can be connected to, as far as its text tells: no address that stands for every
//! interface, no port 0. Names are in lower case, so that two texts of the same place are equal.
//! Nothing is looked up here: see `resolve.rs`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::caps;

/// A host: an IP address, or the name of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address, which is not that of every interface.
    Ip(IpAddr),
    /// A DNS name, in lower case.
    Name(HostName),
}

/// A DNS name by RFC 1123, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// Where others reach a node: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: NonZero<u16>,
}

/// Why a text is no host or no address, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// There is no port at the end.
    #[error(
        "{0:?} has no port: write host:port, like 10.0.0.7:7600, [fd00::7]:7600 or node-1.example:7600"
    )]
    NoPort(String),
    /// The port is none that can be connected to.
    #[error(
        "{0:?} has no port from 1 to 65535 at its end: write host:port, like node-1.example:7600"
    )]
    Port(String),
    /// It is a URL.
    #[error("{0:?} is a URL: write the host and the port alone, like node-1.example:7600")]
    Url(String),
    /// An IPv6 address with a port needs brackets.
    #[error("{0:?} is an IPv6 address without brackets: write [address]:port, like [fd00::7]:7600")]
    Brackets(String),
    /// What is in the brackets is no IPv6 address.
    #[error(
        "{0:?} has no IPv6 address in its brackets: write one like [fd00::7]:7600, without a zone"
    )]
    Ipv6(String),
    /// The address stands for every interface of a machine.
    #[error(
        "{0} is every interface of a machine, and nobody can connect to it: write the name or the address under which others reach the node"
    )]
    Unspecified(IpAddr),
    /// It looks like an IPv4 address, and is none.
    #[error(
        "{0:?} is no IPv4 address, and a name does not end in a number: write one like 10.0.0.7, or a name like node-1.example"
    )]
    Ipv4(String),
    /// It is no name.
    #[error(
        "{0:?} is no host name: write an IP address, or a name of a-z 0-9 - and dots, 253 characters at most, each part of 1 to 63, \
         with no - and no dot at its ends"
    )]
    Name(String),
}

impl HostName {
    /// Parses a name by RFC 1123, section 2.1: what ends in a number is an address, or none.
    fn new(text: &str) -> Result<Self, InvalidHost> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        let is_label = |label: &str| {
            (1..=caps::HOST_LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(is_plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > caps::HOST_NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(InvalidHost::Name(text.to_owned()));
        }
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit())) {
            return Err(InvalidHost::Ipv4(text.to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// This machine, for those who are on it.
    #[must_use]
    pub fn localhost() -> Self {
        Self::Name(HostName("localhost".to_owned()))
    }

    fn of(ip: IpAddr) -> Result<Self, InvalidHost> {
        if ip.is_unspecified() { Err(InvalidHost::Unspecified(ip)) } else { Ok(Self::Ip(ip)) }
    }
}

impl HostPort {
    /// The address of a socket, if others can connect to it.
    ///
    /// # Errors
    /// [`InvalidHost`] for port 0, and for an address that stands for every interface.
    pub fn of_socket(address: std::net::SocketAddr) -> Result<Self, InvalidHost> {
        let port =
            NonZero::new(address.port()).ok_or_else(|| InvalidHost::Port(address.to_string()))?;
        Ok(Self { host: Host::of(address.ip())?, port })
    }
}

/// Splits `host:port`; the brackets of an IPv6 address stay.
pub(super) fn split(text: &str) -> Result<(&str, u16), InvalidHost> {
    if text.contains("://") {
        return Err(InvalidHost::Url(text.to_owned()));
    }

    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(InvalidHost::Brackets(text.to_owned()));
    }

    let without_port = text.ends_with(']') || !text.contains(':');
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) if !without_port => parts,
        Some(_) | None => return Err(InvalidHost::NoPort(text.to_owned())),
    };

    // The parser of numbers would take a sign.
    let is_number = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number);
    if host.contains(':') && !host.starts_with('[') {
        return Err(InvalidHost::Brackets(text.to_owned()));
    }

    port.map(|port| (host, port)).ok_or_else(|| InvalidHost::Port(text.to_owned()))
}

/// Parses a host that stands before a port.
pub(super) fn before_port(text: &str) -> Result<Host, InvalidHost> {
    let Some(inner) = text.strip_prefix('[') else { return text.parse() };
    let ip = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
    Host::of(ip.ok_or_else(|| InvalidHost::Ipv6(text.to_owned()))?.into())
}

impl FromStr for Host {
    type Err = InvalidHost;

    /// Parses a host without a port; an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if text.starts_with('[') {
            return before_port(text);
        }
        let ip = text
            .parse::<Ipv4Addr>()
            .map(IpAddr::from)
            .or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::from));
        ip.map_or_else(|_| HostName::new(text).map(Self::Name), Self::of)
    }
}

impl FromStr for HostPort {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (host, port) = split(text)?;
        let port = NonZero::new(port).ok_or_else(|| InvalidHost::Port(text.to_owned()))?;
        Ok(Self { host: before_port(host)?, port })
    }
}

impl TryFrom<String> for HostPort {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(address: HostPort) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    /// As it stands before a port: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_connected_to_is_taken() {
        let longest = format!(
            "{}.{}",
            ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."),
            "d".repeat(61)
        );

        for (text, shown) in [
            ("10.0.0.7:7600", "10.0.0.7:7600"),
            ("[::1]:1", "[::1]:1"),
            ("[FD00:0::7]:65535", "[fd00::7]:65535"),
            ("localhost:80", "localhost:80"),
            ("ratequeue-0.ratequeue:7600", "ratequeue-0.ratequeue:7600"),
            ("Node-1.Example:7600", "node-1.example:7600"),
            ("3com.example:7600", "3com.example:7600"),
            ("10.0.0.7a:7600", "10.0.0.7a:7600"),
            (&format!("{longest}:7600"), &format!("{longest}:7600")),
        ] {
            let address: HostPort = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    /// Each error says what to write, and the list has one of each kind.
    #[test]
    fn what_cannot_be_is_refused_with_what_to_write() {
        let (long_label, long) =
            (format!("{}:1", "a".repeat(64)), format!("{}a:1", "a.".repeat(127)));
        for (text, words) in [
            ("", "host:port"),
            ("node-1", "has no port"),
            ("[::1]", "has no port"),
            ("::1", "[address]:port"),
            ("fd00::7:7600", "[address]:port"),
            ("1:2:3:7600", "[address]:port"),
            ("[::1%eth0]:7600", "without a zone"),
            ("[10.0.0.7]:7600", "no IPv6 address"),
            ("[::1:7600", "no IPv6 address"),
            ("node-1:", "1 to 65535"),
            ("node-1:0", "1 to 65535"),
            ("node-1:65536", "1 to 65535"),
            ("node-1:+80", "1 to 65535"),
            ("node-1:http", "1 to 65535"),
            ("0.0.0.0:7600", "every interface"),
            ("[::]:7600", "every interface"),
            ("10.0.0.256:7600", "no IPv4 address"),
            ("10.1:7600", "no IPv4 address"),
            (":7600", "no host name"),
            ("node_1:7600", "a-z 0-9 -"),
            ("-node:7600", "no - and no dot at its ends"),
            ("node-:7600", "no - and no dot at its ends"),
            ("node.:7600", "no dot at its ends"),
            ("a..b:7600", "each part of 1 to 63"),
            ("http://node:7600", "is a URL"),
            ("b\u{fc}ro:7600", "a-z 0-9 -"),
            ("node 1:7600", "a-z 0-9 -"),
            (&long_label, "1 to 63"),
            (&long, "253 characters"),
        ] {
            let error = text.parse::<HostPort>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_host_alone_has_no_port() {
        for (text, shown) in
            [("node-1", "node-1"), ("::1", "[::1]"), ("[::1]", "[::1]"), ("10.0.0.7", "10.0.0.7")]
        {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
        for text in ["node-1:7600", "10.0.0.7:7600", "[::1]:7600", "0.0.0.0", "::", ""] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
