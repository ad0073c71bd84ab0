//! The file that describes a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratequeue_api::cluster::NodeView;
use ratequeue_link::{HostPort, InvalidHost};
use serde::Deserialize;

/// The group across regions, and the placement of resources whose limits hold over all of them. No
/// region has this name.
pub const GLOBAL: &str = "global";

/// Regions of a cluster.
const REGIONS_MAX: usize = 64;
/// Nodes of a region.
const NODES_PER_REGION_MAX: usize = 16;
/// Nodes of a cluster: all are members of the global group.
const NODES_MAX: usize = ratequeue_raft::caps::MEMBERS_MAX;
/// Nodes of a region that vote in the global group.
const VOTERS_PER_REGION_MAX: u32 = 3;
/// The longest round trip between regions, in milliseconds.
const ROUND_TRIP_MS_MAX: u64 = 500;
/// The longest round trip between regions unless the file says otherwise, in milliseconds: between
/// most of them it is less.
const ROUND_TRIP_MS_DEFAULT: u64 = 150;

/// Why a file does not describe a cluster.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct FileError {
    path: PathBuf,
    #[source]
    why: FileDefect,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum FileDefect {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    #[error(transparent)]
    Cluster(#[from] InvalidCluster),
}

/// What cannot be in a cluster, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCluster {
    /// Its name.
    #[error("name is {0:?}: it must be 1 to 63 characters of a-z 0-9 -")]
    Name(String),
    /// The number of its regions.
    #[error("there must be 1 to {REGIONS_MAX} regions")]
    Regions,
    /// The voters of the global group.
    #[error("global.voters_per_region must be 1 to {VOTERS_PER_REGION_MAX}")]
    VotersPerRegion,
    /// The round trip between regions.
    #[error("global.round_trip_ms must be 0 to {ROUND_TRIP_MS_MAX}")]
    RoundTrip,
    /// The name of a region.
    #[error("region {0:?}: a name is 1 to 63 characters of a-z 0-9 -, and not global")]
    RegionName(String),
    /// The number of nodes of a region.
    #[error("region {0}: there must be 1 to {NODES_PER_REGION_MAX} nodes")]
    NodesOfRegion(String),
    /// The id of a node.
    #[error("region {region}: the id {id} is 0 or is there twice")]
    NodeId {
        /// Its region.
        region: String,
        /// The id.
        id: u64,
    },
    /// The number of nodes.
    #[error("a cluster has at most {NODES_MAX} nodes")]
    Nodes,
    /// Two nodes at one address.
    #[error("region {region}: the address {address} is there twice")]
    Address {
        /// The region of the second one.
        region: String,
        /// The address.
        address: HostPort,
    },
}

/// Why a node cannot be as somebody else describes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNode {
    /// Its URL.
    #[error("http is {0:?}: it must be like http://node-1.example:7600")]
    Url(String),
    /// One of its addresses.
    #[error("{field}: {why}")]
    Address {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        why: InvalidHost,
    },
    /// Its region.
    #[error("region is {0:?}: it must be the name of one")]
    Region(String),
}

/// A cluster: its name, its regions, and the group that spans them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// Its name. A data folder of another cluster is refused.
    pub name: String,
    /// Its regions by name.
    pub regions: BTreeMap<String, RegionConfig>,
    /// The group across regions.
    #[serde(default)]
    pub global: GlobalConfig,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its nodes.
    pub nodes: Vec<NodeConfig>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its id, from 1 on; never used twice in the life of a cluster.
    pub id: u64,
    /// Where others reach it over HTTP.
    pub http: HostPort,
    /// Where other nodes reach it.
    pub peer: HostPort,
}

/// The group across regions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalConfig {
    /// How many nodes of each region vote in it, 1 to 3; fewer where one region would have half of
    /// all votes otherwise. By default 1 with three or more regions, 2 with two, all nodes (at
    /// most 3) with one.
    pub voters_per_region: Option<u32>,
    /// The longest round trip between two regions in milliseconds, 0 to 500: it says how soon a
    /// leader counts as lost. By default 150, or 0 with one region.
    pub round_trip_ms: Option<u64>,
}

impl NodeConfig {
    /// The node as the API shows it.
    pub fn view(&self, region: &str) -> NodeView {
        view(self.id, region, &self.http, &self.peer)
    }
}

impl ClusterFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong, where, and what is allowed there.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(FileDefect::from);
        let file = text.and_then(|text| Self::parse(&text));
        file.map_err(|why| FileError { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, FileDefect> {
        let file: Self = toml::from_str(text)?;
        file.check()?;
        Ok(file)
    }

    /// A cluster of one node, which listens for no other.
    pub fn alone(name: &str, region: &str, http: &HostPort) -> Self {
        let node = NodeConfig { id: 1, http: http.clone(), peer: http.clone() };
        let region_config = RegionConfig { nodes: vec![node] };
        let regions = BTreeMap::from([(region.to_owned(), region_config)]);
        Self { name: name.to_owned(), regions, global: GlobalConfig::default() }
    }

    fn check(&self) -> Result<(), InvalidCluster> {
        if !is_name(&self.name) {
            return Err(InvalidCluster::Name(self.name.clone()));
        }
        if self.regions.is_empty() || self.regions.len() > REGIONS_MAX {
            return Err(InvalidCluster::Regions);
        }
        if self
            .global
            .voters_per_region
            .is_some_and(|voters| !(1..=VOTERS_PER_REGION_MAX).contains(&voters))
        {
            return Err(InvalidCluster::VotersPerRegion);
        }
        if self.global.round_trip_ms.is_some_and(|ms| ms > ROUND_TRIP_MS_MAX) {
            return Err(InvalidCluster::RoundTrip);
        }

        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (name, config) in &self.regions {
            let region = || name.clone();
            if !is_name(name) || name == GLOBAL {
                return Err(InvalidCluster::RegionName(region()));
            }
            if config.nodes.is_empty() || config.nodes.len() > NODES_PER_REGION_MAX {
                return Err(InvalidCluster::NodesOfRegion(region()));
            }

            for node in &config.nodes {
                if node.id == 0 || !ids.insert(node.id) {
                    return Err(InvalidCluster::NodeId { region: region(), id: node.id });
                }
                if ids.len() > NODES_MAX {
                    return Err(InvalidCluster::Nodes);
                }
                if let Some(twice) =
                    [&node.http, &node.peer].into_iter().find(|address| !addresses.insert(*address))
                {
                    return Err(InvalidCluster::Address {
                        region: region(),
                        address: twice.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The region and the settings of a node.
    pub fn node(&self, id: u64) -> Option<(&str, &NodeConfig)> {
        let nodes = self
            .regions
            .iter()
            .flat_map(|(region, config)| config.nodes.iter().map(move |node| (region, node)));
        nodes.map(|(region, node)| (region.as_str(), node)).find(|(_, node)| node.id == id)
    }

    /// All nodes as the API shows them.
    pub fn views(&self) -> impl Iterator<Item = NodeView> {
        self.regions
            .iter()
            .flat_map(|(region, config)| config.nodes.iter().map(move |node| node.view(region)))
    }

    /// The longest round trip between two regions.
    pub fn round_trip(&self) -> Duration {
        let default = if self.regions.len() > 1 { ROUND_TRIP_MS_DEFAULT } else { 0 };
        Duration::from_millis(self.global.round_trip_ms.unwrap_or(default))
    }

    /// The ids of all nodes, in order.
    pub fn ids(&self) -> Vec<u64> {
        let ids = self.regions.values().flat_map(|config| config.nodes.iter().map(|node| node.id));
        ids.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A node as the API shows it.
pub fn view(id: u64, region: &str, http: &HostPort, peer: &HostPort) -> NodeView {
    NodeView {
        id,
        region: region.to_owned(),
        http: format!("http://{http}"),
        peer: peer.to_string(),
    }
}

/// Checks a node as somebody else describes it.
///
/// # Errors
/// What is wrong, and what is allowed there.
pub fn check_view(node: &NodeView) -> Result<(), InvalidNode> {
    let http =
        node.http.strip_prefix("http://").ok_or_else(|| InvalidNode::Url(node.http.clone()))?;
    for (field, text) in [("http", http), ("peer", &node.peer)] {
        text.parse::<HostPort>().map_err(|why| InvalidNode::Address { field, why })?;
    }

    if !is_name(&node.region) {
        return Err(InvalidNode::Region(node.region.clone()));
    }
    Ok(())
}

/// The grammar of the names of clusters and regions.
fn is_name(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        ClusterFile::parse(text).unwrap_err().to_string()
    }

    const NODE: &str = "{ id = 1, http = '127.0.0.1:1', peer = '127.0.0.1:2' }";

    #[test]
    fn a_typing_error_names_its_line_and_the_allowed_keys() {
        let error = error(&format!("name = 'a'\n[regions.b]\nnodse = [{NODE}]\n"));
        assert!(error.contains("line 3") && error.contains("expected `nodes`"), "{error}");
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let file = |http: &str| {
            ClusterFile::parse(&format!(
                "name = 'a'\n[regions.b]\nnodes = [{}]",
                NODE.replace("127.0.0.1:1", http)
            ))
        };

        let node = file("Ratequeue-0.ratequeue:7600").unwrap().node(1).unwrap().1.view("b");
        assert_eq!(node.http, "http://ratequeue-0.ratequeue:7600");
        assert_eq!(check_view(&node), Ok(()));

        for (http, part) in [
            ("0.0.0.0:7600", "every interface"),
            ("127.0.0.1:0", "1 to 65535"),
            ("node-1", "has no port"),
        ] {
            let error = file(http).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("line 3"), "{http}: {error}");
            let view = NodeView { http: format!("http://{http}"), ..node.clone() };
            assert!(check_view(&view).unwrap_err().to_string().contains(part), "{http}");
        }

        let refused = |view: NodeView| check_view(&view).unwrap_err().to_string();
        assert!(refused(NodeView { http: "a:1".to_owned(), ..node.clone() }).contains("http://"));
        assert!(refused(NodeView { region: "a b".to_owned(), ..node }).contains("region"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, part) in [
            (format!("name = 'A'\n[regions.b]\nnodes = [{NODE}]"), "name"),
            ("name = 'a'\nregions = {}".to_owned(), "regions"),
            (format!("name = 'a'\n[regions.global]\nnodes = [{NODE}]"), "not global"),
            (format!("name = 'a'\n[regions.b]\nnodes = [{NODE}, {NODE}]"), "twice"),
            ("name = 'a'\n[regions.b]\nnodes = []".to_owned(), "nodes"),
        ] {
            let error = error(&text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
