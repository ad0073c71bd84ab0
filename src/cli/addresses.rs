//! Where a node listens, and what it tells others of where it is: one rule, the same for HTTP and
//! for the peer link.
//!
//! ```text
//!   listens at     --http, --peer                                       else RATEQUEUE_HTTP, _PEER     else the file
//!   tells others   --advertise-http, -peer, then --advertise            else RATEQUEUE_ADVERTISE...    else the file
//! ```
//! `ratequeue dev` has no file: it tells where it listens. What stands for every interface is never
//! told.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::str::FromStr;

use clap::Args;
use ratequeue_link::{Host, HostPort, InvalidHost, ListenAddress};

use crate::config::NodeConfig;

/// Where to listen and what to tell, when it differs from the file
#[derive(Debug, Args)]
pub struct Addresses {
    /// Where to listen for callers, when it differs from the address in the file: HOST:PORT, or
    /// :PORT for every interface
    #[arg(long, env = "RATEQUEUE_HTTP", value_name = "ADDRESS")]
    http: Option<ListenAddress>,
    /// Where to listen for the other nodes, when it differs from the address in the file:
    /// HOST:PORT, or :PORT
    #[arg(long, env = "RATEQUEUE_PEER", value_name = "ADDRESS")]
    peer: Option<ListenAddress>,
    /// The host under which others reach this node, when it differs from the one in the file; a
    /// port is that of HTTP
    #[arg(long, env = "RATEQUEUE_ADVERTISE", value_name = "HOST[:PORT]")]
    advertise: Option<Advertised>,
    /// Where callers reach this node, when it differs from the address in the file
    #[arg(long, env = "RATEQUEUE_ADVERTISE_HTTP", value_name = "HOST:PORT")]
    advertise_http: Option<HostPort>,
    /// Where the other nodes reach this one, when it differs from the address in the file
    #[arg(long, env = "RATEQUEUE_ADVERTISE_PEER", value_name = "HOST:PORT")]
    advertise_peer: Option<HostPort>,
}

/// Where a node listens, and what it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub listen_http: ListenAddress,
    pub listen_peer: ListenAddress,
    pub http: HostPort,
    pub peer: HostPort,
}

/// A host that others are told, and perhaps the port for HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    host: Host,
    port: Option<NonZero<u16>>,
}

impl Addresses {
    /// The addresses of a node that the file describes so.
    pub fn of(self, node: &NodeConfig) -> Places {
        let host = |of_file: &HostPort| {
            let host = self.advertise.as_ref().map(|advertised| advertised.host.clone());
            HostPort { host: host.unwrap_or_else(|| of_file.host.clone()), port: of_file.port }
        };
        let http = self.advertise.as_ref().and_then(|advertised| advertised.port);
        let http = HostPort { port: http.unwrap_or(node.http.port), ..host(&node.http) };
        let peer = host(&node.peer);
        Places {
            listen_http: self.http.unwrap_or_else(|| node.http.clone().into()),
            listen_peer: self.peer.unwrap_or_else(|| node.peer.clone().into()),
            http: self.advertise_http.unwrap_or(http),
            peer: self.advertise_peer.unwrap_or(peer),
        }
    }
}

impl Advertised {
    /// The advertised address; `listens` when none is given.
    pub fn or(self, listens: HostPort) -> HostPort {
        HostPort { host: self.host, port: self.port.unwrap_or(listens.port) }
    }
}

impl FromStr for Advertised {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        match text.parse::<HostPort>() {
            Ok(HostPort { host, port }) => Ok(Self { host, port: Some(port) }),
            // Without a port it is a host alone; whatever else is wrong is wrong with both.
            Err(InvalidHost::NoPort(_) | InvalidHost::Brackets(_)) => {
                Ok(Self { host: text.parse()?, port: None })
            }
            Err(error) => Err(error),
        }
    }
}

/// Where a node that listens is found from this machine: at the loopback, when it listens on every
/// interface.
///
/// # Errors
/// When the system gave it no port.
pub fn from_here(listen: &ListenAddress, bound: SocketAddr) -> Result<HostPort, InvalidHost> {
    let loopback = match bound.ip() {
        IpAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], bound.port())),
        IpAddr::V6(_) => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], bound.port())),
    };
    let named = |host: Host| HostPort::of_socket(loopback).map(|at| HostPort { host, ..at });
    match listen {
        ListenAddress::Everywhere(_) => named(Host::localhost()),
        ListenAddress::Named(name, _) => named(Host::Name(name.clone())),
        ListenAddress::At(at) if at.ip().is_unspecified() => HostPort::of_socket(loopback),
        ListenAddress::At(_) => HostPort::of_socket(bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeConfig {
        NodeConfig { id: 1, http: "file:7600".parse().unwrap(), peer: "file:7700".parse().unwrap() }
    }

    /// What a node does with these flags: where it listens for HTTP and its peers, and what it
    /// tells of both.
    fn places(args: &[&str]) -> [String; 4] {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            addresses: Addresses,
        }
        let line = <Line as clap::Parser>::try_parse_from([&["node"], args].concat()).unwrap();
        let places = line.addresses.of(&node());
        [
            places.listen_http.to_string(),
            places.listen_peer.to_string(),
            places.http.to_string(),
            places.peer.to_string(),
        ]
    }

    #[test]
    fn what_is_told_is_not_where_it_listens() {
        let file = "file:7600 file:7700 file:7600 file:7700";
        for (args, expected) in [
            (&[][..], file),
            (&["--http", ":80", "--peer", "0.0.0.0:81"], ":80 0.0.0.0:81 file:7600 file:7700"),
            (&["--advertise", "me"], "file:7600 file:7700 me:7600 me:7700"),
            (&["--advertise", "me:80"], "file:7600 file:7700 me:80 me:7700"),
            (&["--advertise", "::1"], "file:7600 file:7700 [::1]:7600 [::1]:7700"),
            (
                &["--advertise-http", "a:1", "--advertise-peer", "b:2"],
                "file:7600 file:7700 a:1 b:2",
            ),
            (
                &["--advertise", "me:80", "--advertise-http", "a:1"],
                "file:7600 file:7700 a:1 me:7700",
            ),
        ] {
            assert_eq!(places(args).join(" "), expected, "{args:?}");
        }
    }

    #[test]
    fn what_nobody_can_connect_to_is_not_told() {
        for (text, words) in [
            ("0.0.0.0", "every interface"),
            ("0.0.0.0:7600", "every interface"),
            ("[::]:7600", "every interface"),
            ("me:0", "1 to 65535"),
            (":7600", "no host name"),
            ("", "no host name"),
        ] {
            let error = text.parse::<Advertised>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn who_listens_on_every_interface_is_found_at_the_loopback() {
        for (listen, bound, found) in [
            (":0", "[::]:7600", "localhost:7600"),
            ("localhost:0", "127.0.0.1:7600", "localhost:7600"),
            ("0.0.0.0:0", "0.0.0.0:7600", "127.0.0.1:7600"),
            ("[::]:0", "[::]:7600", "[::1]:7600"),
            ("10.0.0.7:0", "10.0.0.7:7600", "10.0.0.7:7600"),
        ] {
            let at = from_here(&listen.parse().unwrap(), bound.parse().unwrap()).unwrap();
            assert_eq!(at.to_string(), found, "{listen}");
        }
    }
}
