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

/// There is no region of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("region is {wanted:?}: must be one of {}", places.join(", "))]
pub struct NoRegion {
    wanted: String,
    places: Vec<String>,
}

impl Member {
    /// Both groups.
    pub fn groups(&self) -> [&Group; 2] {
        [&self.region, &self.global]
    }

    /// Checks that there is a region of this name, or that it is the global group's.
    ///
    /// # Errors
    /// What there is.
    pub fn check_region(&self, wanted: &str) -> Result<(), NoRegion> {
        if wanted == self.global.name() || self.regions.has(wanted) {
            return Ok(());
        }
        Err(NoRegion { wanted: wanted.to_owned(), places: self.places() })
    }

    /// The names of all groups of the cluster: where a resource can live.
    pub fn places(&self) -> Vec<String> {
        self.regions.names().into_iter().chain([self.global.name().to_owned()]).collect()
    }

    /// The URL of the node that leads a group, if this node knows it.
    pub fn leader_url(&self, group: &Group) -> Option<String> {
        self.regions.url_of(group.leader()?)
    }
}
