//! The process dies at every step of what changes its files: before each call that writes, syncs,
//! renames, makes or removes something, and in the middle of each write. Opened again, there is the
//! state before or the one after, nothing that was acknowledged is lost, and the node works on.
//!
//! ```text
//!   shim.c      a library that is compiled on the spot and preloaded into a child: this test binary
//!   shim.rs     the child, and what came of it
//!   points.rs   counts the steps of a procedure, then runs it anew once for each, to die there
//!   folder.rs   copies of folders, and what their logs add up to
//!   owner.rs    the identity and the founding of a data folder; the first start of a node
//!   alone.rs    a checkpoint with all that follows it; a purge
//!   install.rs  a snapshot from the leader
//! ```
//! A process that dies leaves its page cache behind, so this is about the order of steps; what a
//! power cut leaves is another test (`scripts/powercut.sh`). It needs a C compiler.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../common/mod.rs"]
mod common;

mod alone;
mod folder;
mod install;
mod owner;
mod points;
mod shim;
