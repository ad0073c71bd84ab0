//! What survives the end of a process, and the clock's jumps.
//!
//! ```text
//!   durability.rs  SIGKILL in the middle of the work
//!   clock.rs       time that jumps, stands still or is set
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod clock;
mod durability;
#[path = "../harness/mod.rs"]
mod harness;
