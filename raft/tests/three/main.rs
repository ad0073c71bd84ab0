//! Three copies of a group over a network that can be cut: failover, catching up, and nothing
//! acknowledged is lost.
//!
//! ```text
//!   calls.rs        commands and calls at the leader and at followers
//!   failover.rs     leaders that die or are cut off, and nodes that come back
//!   catching_up.rs  from the log, from a snapshot
//!   time.rs         log time across failovers
//!   members.rs      leadership that is handed over, changes of the members
//! ```
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod calls;
mod catching_up;
#[path = "../common/mod.rs"]
mod common;
mod failover;
mod members;
mod time;
mod watching;

use common::hub::Cluster;
use common::*;
use ratequeue_limiter::{LeaseId, Reply};

async fn three() -> Cluster {
    Cluster::start(3, Opening::default()).await
}

async fn acquire_anywhere(cluster: &Cluster, id: &str) -> LeaseId {
    match cluster.submit(acquire("api", id)).await.outcome {
        Ok(Reply::Acquired(view)) => view.id,
        other => panic!("not acquired: {other:?}"),
    }
}
