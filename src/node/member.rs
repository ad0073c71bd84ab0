//! A node's part in its cluster: its two groups, and the regions as it knows them.

use std::sync::Arc;

use ratequeue_raft::Group;
use ratequeue_storage::Identity;

use super::regions::Regions;

/// A node's part in its cluster.
#[derive(Debug)]
pub struct Member {
    pub identity: Identity,
    /// The group of the node's region.
    pub region: Group,
    /// The group that spans the regions: it has the global resources and the catalog.
    pub global: Group,
    pub regions: Arc<Regions>,
    /// Its checkpoints could not be opened, and were moved aside.
    pub moved_aside: bool,
}

impl Member {
    /// Both groups.
    pub fn groups(&self) -> [&Group; 2] {
        [&self.region, &self.global]
    }

    /// The URL of the node that leads a group, if this node knows it.
    pub fn leader_url(&self, group: &Group) -> Option<String> {
        self.regions.url_of(group.leader()?)
    }
}
