//! The file that describes a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use ratequeue_api::cluster::NodeView;
use serde::Deserialize;

use crate::exit::{Exit, Failed};

/// Regions of a cluster.
const REGIONS_MAX: usize = 64;
/// Nodes of a region.
const NODES_PER_REGION_MAX: usize = 16;

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
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// Where it talks to other nodes.
    pub peer: SocketAddr,
}

/// The group across regions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalConfig {
    /// How many nodes of each region vote in it.
    pub voters_per_region: Option<u32>,
}

impl NodeConfig {
    /// The node as the API shows it.
    pub fn view(&self) -> NodeView {
        NodeView { id: self.id, http: format!("http://{}", self.http), peer: self.peer.to_string() }
    }
}

impl ClusterFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong, where, and what is allowed there.
    pub fn read(path: &Path) -> Result<Self, Failed> {
        let fail = |text: String| Failed::new(Exit::Usage, format!("{}: {text}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let file: Self = toml::from_str(&text).map_err(|error| fail(error.to_string()))?;
        file.check().map_err(fail)?;
        Ok(file)
    }

    /// A cluster of one node, which talks to no other.
    pub fn alone(name: &str, region: &str, http: SocketAddr) -> Self {
        let peer = SocketAddr::new(http.ip(), 0);
        let region_config = RegionConfig { nodes: vec![NodeConfig { id: 1, http, peer }] };
        let regions = BTreeMap::from([(region.to_owned(), region_config)]);
        Self { name: name.to_owned(), regions, global: GlobalConfig::default() }
    }

    fn check(&self) -> Result<(), String> {
        if !is_name(&self.name) {
            return Err(format!("name is {:?}: it must be 1 to 63 characters of a-z 0-9 -", self.name));
        }
        if self.regions.is_empty() || self.regions.len() > REGIONS_MAX {
            return Err(format!("there must be 1 to {REGIONS_MAX} regions"));
        }
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (region, config) in &self.regions {
            if !is_name(region) || region == "global" {
                return Err(format!("region {region:?}: a name is 1 to 63 characters of a-z 0-9 -, and not global"));
            }
            if config.nodes.is_empty() || config.nodes.len() > NODES_PER_REGION_MAX {
                return Err(format!("region {region}: there must be 1 to {NODES_PER_REGION_MAX} nodes"));
            }
            for node in &config.nodes {
                if node.id == 0 || !ids.insert(node.id) {
                    return Err(format!("region {region}: the id {} is 0 or is there twice", node.id));
                }
                for address in [node.http, node.peer] {
                    if !addresses.insert(address) {
                        return Err(format!("region {region}: the address {address} is there twice"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The region and the settings of a node.
    pub fn node(&self, id: u64) -> Option<(&str, &NodeConfig)> {
        let nodes =
            self.regions.iter().flat_map(|(region, config)| config.nodes.iter().map(move |node| (region, node)));
        nodes.map(|(region, node)| (region.as_str(), node)).find(|(_, node)| node.id == id)
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> Vec<u64> {
        self.regions.values().flat_map(|config| config.nodes.iter().map(|node| node.id)).collect()
    }
}

/// The grammar of the names of clusters and regions.
fn is_name(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClusterFile, String> {
        let file: ClusterFile = toml::from_str(text).map_err(|error| error.to_string())?;
        file.check().map(|()| file)
    }

    const NODE: &str = "{ id = 1, http = '127.0.0.1:1', peer = '127.0.0.1:2' }";

    #[test]
    fn a_typing_error_names_its_line_and_the_allowed_keys() {
        let error = read(&format!("name = 'a'\n[regions.b]\nnodse = [{NODE}]\n")).unwrap_err();
        assert!(error.contains("line 3") && error.contains("expected `nodes`"), "{error}");
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
            let error = read(&text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
