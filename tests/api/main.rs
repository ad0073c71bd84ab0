//! The API of one node: what each call takes, does and answers.
//!
//! ```text
//!   calls.rs          what the tests of leases share
//!   acquire.rs        granted, waiting, refused, repeated
//!   leases.rs         look, release, extend, lists
//!   resources.rs      put, patch, get, list, delete
//!   stats.rs          how a resource stands
//!   metrics.rs        names, and how many resources
//!   description.rs    the OpenAPI document
//!   watching.rs       the cluster, health, and what frames every answer
//!   keepalive.rs      a place is kept for those who ask for it
//!   hung_up.rs        callers that go away
//!   limits_change.rs  limits that change while they are in use
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod acquire;
mod calls;
mod description;
mod events;
#[path = "../harness/mod.rs"]
mod harness;
mod hung_up;
mod keepalive;
mod leases;
mod limits_change;
mod metrics;
mod resources;
mod series;
mod stats;
mod watching;
