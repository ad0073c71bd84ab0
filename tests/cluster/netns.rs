//! A network of its own for each node, which can be cut. As root, with `ip` of iproute2.
//!
//! ```text
//!   namespace of node N          namespace of the switch          where the test runs
//!     peer 198.18.0.N  ---- pN --- bridge "peers"
//!     http 198.19.x.y  ---- hN --- bridge "http" ---- root ------- rqPID 198.19.x.14
//! ```
//! Nodes talk to each other over `peers` and are called over `http`: one that is cut off can still
//! be asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::addresses::Place;

/// Of each subnet: the last host, which is the test's.
const OURS: u8 = 14;

/// How a node is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The cable is pulled: its own system notices.
    Link,
    /// What it sends arrives nowhere: nobody notices.
    Silence,
}

/// The namespaces of one test. Dropping it takes them down, and with them every interface.
#[derive(Debug)]
pub struct Network {
    tag: String,
    nodes: u8,
    /// The first 28 bits of the addresses over which nodes are called.
    subnet: [u8; 4],
}

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip").args(args.split(' ')).output();
    let output = output.map_err(|error| format!("ip (package iproute2) cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Network {
    /// A network for so many nodes, at most 13.
    ///
    /// # Errors
    /// What could not be made.
    pub fn make(nodes: u8) -> Result<Self, String> {
        let pid = std::process::id();
        let [.., high, low] = ((pid % 4_096) << 4).to_be_bytes();
        let network = Self { tag: format!("rq{pid}"), nodes, subnet: [198, 19, high, low] };
        let (switch, tag, ours) = (network.switch(), &network.tag, network.http_ip(OURS));
        ip(&format!("netns add {switch}"))?;

        for bridge in ["peers", "http"] {
            ip(&format!("-n {switch} link add {bridge} type bridge"))?;
            ip(&format!("-n {switch} link set {bridge} up"))?;
        }

        ip(&format!("link add {tag} type veth peer name root netns {switch}"))?;
        ip(&format!("-n {switch} link set root master http up"))?;
        ip(&format!("addr add {ours}/28 dev {tag}"))?;
        ip(&format!("link set {tag} up"))?;
        for id in 1..=nodes {
            network.add(id)?;
        }

        Ok(network)
    }

    fn add(&self, id: u8) -> Result<(), String> {
        let (switch, name) = (self.switch(), self.namespace(id));
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set lo up"))?;
        for (port, bridge, inside, address) in [
            (format!("p{id}"), "peers", "peer", format!("{}/24", Self::peer_ip(id))),
            (format!("h{id}"), "http", "http", format!("{}/28", self.http_ip(id))),
        ] {
            ip(&format!("-n {switch} link add {port} type veth peer name {inside} netns {name}"))?;
            ip(&format!("-n {switch} link set {port} master {bridge} up"))?;
            ip(&format!("-n {name} addr add {address} dev {inside}"))?;
            ip(&format!("-n {name} link set {inside} up"))?;
        }
        Ok(())
    }

    fn switch(&self) -> String {
        format!("{}sw", self.tag)
    }

    /// The namespace of a node.
    pub fn namespace(&self, id: u8) -> String {
        format!("{}n{id}", self.tag)
    }

    fn http_ip(&self, host: u8) -> IpAddr {
        let [a, b, c, d] = self.subnet;
        IpAddr::from(Ipv4Addr::new(a, b, c, d | host))
    }

    fn peer_ip(id: u8) -> IpAddr {
        IpAddr::from(Ipv4Addr::new(198, 18, 0, id))
    }

    /// Where a node listens: it is the host of its id, unless it was relocated.
    pub fn place(&self, id: u8) -> Place {
        Place {
            http: SocketAddr::new(self.http_ip(id), 7600),
            peer: SocketAddr::new(Self::peer_ip(id), 7700),
        }
    }

    /// Gives a node, whose namespace has the addresses of host `from`, those of host `to` in their
    /// place.
    pub fn relocate(&self, id: u8, from: u8, to: u8) {
        let name = self.namespace(id);
        let addresses = |host: u8| {
            [
                (format!("{}/24", Self::peer_ip(host)), "peer"),
                (format!("{}/28", self.http_ip(host)), "http"),
            ]
        };
        for (change, host) in [("del", from), ("add", to)] {
            for (address, device) in addresses(host) {
                ip(&format!("-n {name} addr {change} {address} dev {device}")).unwrap();
            }
        }
    }

    /// Cuts a node off from the others.
    pub fn cut(&self, id: u64, how: Cut) {
        let change = if how == Cut::Link { "down" } else { "nomaster" };
        ip(&format!("-n {} link set p{id} {change}", self.switch())).unwrap();
    }

    /// Lets it reach the others again.
    pub fn heal(&self, id: u64) {
        ip(&format!("-n {} link set p{id} master peers up", self.switch())).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = (1..=self.nodes).map(|id| self.namespace(id)).chain([self.switch()]);
        for name in names {
            // After a half-made network some are missing.
            if let Err(error) = ip(&format!("netns del {name}")) {
                eprintln!("{error}");
            }
        }
        let _ = ip(&format!("link del {}", self.tag));
    }
}
