//! Nine nodes in a network of three regions with distance between them, which can be cut.
//! `tests/testnet/net.py` makes it, as root; python3 and nftables are needed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::REGIONS;
use crate::addresses::Place;
use crate::cluster::Cluster;

/// Between any two regions, in milliseconds.
pub const ROUND_TRIP_MS: u64 = 80;

/// What the cluster file says: a little more than there is.
const GLOBAL: &str = "[global]\nround_trip_ms = 100\n";

/// How long the global group is without a leader before somebody asks for votes, at most: what
/// `round_trip_ms` comes to.
pub const GLOBAL_ELECTION_MAX_MS: u64 = 900;

/// The network. Dropping it takes it down.
#[derive(Debug)]
pub struct Wan {
    tag: String,
}

fn net(args: &[&str]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testnet/net.py");
    let output = Command::new("python3").arg(script).args(args).output();
    let output = output.map_err(|error| format!("python3 cannot be run: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl Wan {
    /// A network, and a cluster of nine nodes in it, formed and ready. `None` when the test is to
    /// be left out.
    pub async fn with_cluster() -> Option<(Self, Cluster)> {
        let pid = std::process::id().to_string();
        let wan = Self { tag: format!("rw{pid}") };
        let round_trip = ROUND_TRIP_MS.to_string();
        let args =
            ["up", "--tag", &wan.tag, "--regions", "3", "--nodes", "3", "--rtt-ms", &round_trip];

        let made = match net(&[&args[..], &["--until-pid", &pid]].concat()) {
            Ok(made) => made,
            Err(why)
                if std::env::var("RATEQUEUE_TEST_NO_NETNS").is_ok_and(|value| value == "1") =>
            {
                println!("regions: left out: {why}");
                return None;
            }
            Err(why) => panic!(
                "the network cannot be made: {why}. Run this as root with python3 and nftables (scripts/setup.sh test), or \
                 leave it out with RATEQUEUE_TEST_NO_NETNS=1"
            ),
        };

        let made: Value = serde_json::from_str(&made).unwrap();
        let mut nodes = Vec::new();
        for (region, name) in made["regions"].as_array().unwrap().iter().zip(REGIONS) {
            let namespace = region["namespace"].as_str().unwrap();
            for node in region["nodes"].as_array().unwrap() {
                let at =
                    |field: &str| -> SocketAddr { node[field].as_str().unwrap().parse().unwrap() };
                let place = Place { http: at("http"), peer: at("peer") };
                let id = u64::try_from(nodes.len()).unwrap() + 1;
                nodes.push((id, name.to_owned(), place, Some(namespace.to_owned())));
            }
        }

        let mut cluster = Cluster::of("test", nodes[0].2.http.ip(), nodes);
        cluster.global = GLOBAL.to_owned();
        cluster.write();
        cluster.start().await;
        cluster.init().await;
        Some((wan, cluster))
    }

    /// Cuts a region off from all others: what is sent arrives nowhere.
    pub fn cut(&self, region: &str) {
        let number = REGIONS.iter().position(|name| *name == region).unwrap() + 1;
        net(&["cut", "--tag", &self.tag, &number.to_string()]).unwrap();
    }

    /// Cuts all regions off from each other.
    pub fn cut_all(&self) {
        net(&["cut", "--tag", &self.tag, "all"]).unwrap();
    }

    /// Lets all regions reach each other again.
    pub fn heal(&self) {
        net(&["heal", "--tag", &self.tag]).unwrap();
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        if let Err(error) = net(&["down", "--tag", &self.tag]) {
            eprintln!("{error}");
        }
    }
}
