//! What is measured, one after the other: each needs the machine for itself.
//!
//! ```text
//!   idle.rs         what a node costs that nobody calls
//!   heavy_reads.rs  what eager readers cost
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
mod heavy_reads;
mod idle;

/// Taken by each test for as long as it measures.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
