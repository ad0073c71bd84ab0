//! The API of one node: what each call takes, does and answers.
//!
//! ```text
//!   calls.rs          what the tests of leases share
//!   acquire.rs        granted, waiting, refused, repeated
//!   leases.rs         look, release, extend, lists
//!   resources.rs      put, patch, get, list, delete
//!   watching.rs       stats, metrics, health, the description
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
#[path = "../harness/mod.rs"]
mod harness;
mod hung_up;
mod keepalive;
mod leases;
mod limits_change;
mod resources;
mod watching;
