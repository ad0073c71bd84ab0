//! Every byte that is ours, and the one map to the types of openraft.

pub(crate) mod batch;
pub(crate) mod bytes;
pub(crate) mod entry;
pub(crate) mod membership;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod types;
pub(crate) mod wire;
