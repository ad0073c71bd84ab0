//! How groups talk to their copies on other nodes. Phase 2.

use std::fmt::Debug;

/// Carries messages between nodes.
pub trait Transport: Debug + Send + Sync + 'static {}

/// For a group of one node: reaches nobody.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoTransport;

impl Transport for NoTransport {}
