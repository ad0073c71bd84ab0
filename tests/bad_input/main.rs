//! What is wrong gets a clear answer, and changes nothing.
//!
//! ```text
//!   bodies.rs     bodies, and values of calls for leases
//!   resources.rs  values of resources
//!   headers.rs    content types, keys, conditions
//!   paths.rs      names, queries, methods, paths
//!   calls.rs      what the four share: refused at the edge, so the log does not grow
//!   leases.rs     ids, keys and conditions that the group itself refuses
//!   wire.rs       bytes that are no HTTP, or too much of it
//!   start.rs      flags, files, folders and ports with which a node does not start
//!   disk.rs       a full disk
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bodies;
mod calls;
mod disk;
#[path = "../harness/mod.rs"]
mod harness;
mod headers;
mod leases;
mod paths;
mod resources;
mod start;
mod wire;
