//! From commands to one entry, and from its outcomes to their callers.

pub(crate) mod level;
pub(crate) mod proposal;
pub(crate) mod proposer;
pub(crate) mod space;
