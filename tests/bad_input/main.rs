//! What is wrong gets a clear answer, and changes nothing.
//!
//! ```text
//!   calls.rs    bodies, parameters, headers: refused at the edge, so the log does not grow
//!   leases.rs   ids, keys and conditions that the group itself refuses
//!   wire.rs     bytes that are no HTTP, or too much of it
//!   start.rs    flags, files, folders and ports with which a node does not start
//!   disk.rs     a full disk
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod calls;
mod disk;
#[path = "../harness/mod.rs"]
mod harness;
mod leases;
mod start;
mod wire;
