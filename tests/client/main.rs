//! The Rust client, against real nodes and against servers that misbehave.
//!
//! ```text
//!   in_queue.rs  behind a proxy that cuts calls, interrupted, without a node
//!   rules.rs     the table of rules for all clients
//!   urls.rs      what a URL may look like
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../harness/mod.rs"]
mod harness;
mod in_queue;
mod rules;
mod urls;
