//! What openraft calls, and what calls openraft: log, state machine, network.

pub(crate) mod abstention;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod fetch;
pub(crate) mod log;
pub(crate) mod network;
pub(crate) mod receive;
pub(crate) mod snapshot;
pub(crate) mod state_machine;
