//! One node as a process.
//!
//! ```text
//!   start_and_stop.rs  health, SIGTERM, the data folder
//!   bounds.rs          connections, descriptors, memory
//!   names.rs           listening and advertising by name
//!   configs.rs         the cluster files that come with it
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bounds;
mod configs;
#[path = "../harness/mod.rs"]
mod harness;
mod names;
mod start_and_stop;
