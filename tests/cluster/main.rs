//! Several nodes as real processes: what holds when they come, go, stop, and cannot reach each
//! other.
//!
//! ```text
//!   cluster.rs     a cluster: its file, its nodes, what they agree on     addresses.rs  where they listen
//!   member.rs      one node as a process                                 turn.rs       who may use the machine now
//!   load.rs        callers that acquire and release, and what they saw   netns.rs      a network that can be cut
//!
//!   bootstrap.rs   forming a cluster, once             forward.rs   any node answers any call
//!   failover.rs    the leader is killed, 20 times      members.rs   nodes come, go and take another's place
//!   rolling.rs     all are restarted, one by one       pause.rs     a leader that stood still
//!   partition.rs   a node is cut off, 20 times         garbage.rs   strangers at the peer port
//!   hung_up.rs     callers die in the queue                metrics.rs   what can be summed over nodes
//!   names.rs       nodes by name that move            told.rs      what nodes tell of where they are
//!   status.rs      what `cluster status` shows        up.rs        a whole cluster on one machine
//!   founding.rs    what the founders agree on          regions/     several regions
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod addresses;
mod bootstrap;
mod cluster;
mod failover;
mod forward;
mod founding;
mod garbage;
#[path = "../harness/mod.rs"]
mod harness;
mod hung_up;
mod level;
mod load;
mod member;
mod members;
mod metrics;
mod names;
mod netns;
mod partition;
mod pause;
mod regions;
mod rolling;
mod status;
mod told;
mod turn;
mod up;
