//! Several regions: resources where the workloads are, and global ones across regions.
//!
//! ```text
//!   wan.rs     the network: a namespace a region, distance between them, cuts
//!   place.rs   where resources live, and that a worker need not know        creation.rs  creations that race or break off
//!   cut.rs     regions that cannot reach each other                         loss.rs      a region that is gone
//!   grow.rs    a region that comes later, nodes that come and go
//! ```

mod creation;
mod cut;
mod grow;
mod loss;
mod place;
mod wan;
mod watching;

use crate::cluster::Cluster;

/// The regions of these tests, three nodes each: ids 1 to 3, 4 to 6, 7 to 9.
pub const EU: &str = "eu-west-1";
pub const US: &str = "us-east-1";
pub const AP: &str = "ap-south-1";
pub const REGIONS: [&str; 3] = [EU, US, AP];

/// The first node of each region.
pub const DOORS: [u64; 3] = [1, 4, 7];

/// Nine nodes without distance, formed and ready.
pub async fn nine() -> Cluster {
    near(&REGIONS.map(|region| (region, 3))).await
}

/// So many nodes in each of these regions, without distance, formed and ready.
pub async fn near(regions: &[(&str, usize)]) -> Cluster {
    let mut cluster = Cluster::described_in(regions);
    cluster.global = "[global]\nround_trip_ms = 0\n".to_owned();
    cluster.write();
    cluster.start().await;
    cluster.init().await;
    cluster
}
