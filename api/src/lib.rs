//! The wire types of RateQueue's HTTP API, version 1: bodies, paths, headers, error codes.
//!
//! # Model
//! What crosses the wire is defined here once, for the server, the CLI and the Rust client. Reading
//! is strict: an unknown field, a wrong type or a number out of its range is an error that names
//! what is allowed. From the limiter this crate takes names and bounds only; turning these types
//! into commands, and outcomes into these types, is the server's part.
//!
//! ```text
//!   resource.rs  what a resource is, and how it is changed
//!   lease.rs     acquire, wait, release, extend
//!   watch.rs     stats
//!   series.rs    stats over time
//!   event.rs     what happens
//!   cluster.rs   the cluster view, forming a cluster, its members
//!   error.rs     every error code, with its status and whether a retry helps
//!   number.rs    numbers with bounds
//!   object.rs    objects that are no arrays
//!   client/      the Rust client (feature `client`)
//! ```
//!
//! # What it leaves out
//! Sockets and handlers (the server's), the rules of limits (the limiter's).

pub mod caps;
#[cfg(feature = "client")]
pub mod client;
pub mod cluster;
pub mod error;
pub mod event;
pub mod header;
pub mod lease;
mod number;
pub mod object;
pub mod path;
pub mod resource;
pub mod series;
pub mod watch;

pub use error::{ErrorCode, Problem};
pub use lease::{AcquireRequest, ExtendRequest, Lease, LeaseState, Load, ReleaseRequest, Released};
pub use resource::{Limit, List, Queue, Resource, ResourcePatch, ResourceView};
