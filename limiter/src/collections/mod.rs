//! Containers. They know ids, times and names, and no rule of limits or leases.

pub(crate) mod ended;
pub(crate) mod hash;
pub(crate) mod index;
pub(crate) mod live;
pub(crate) mod paged;
pub(crate) mod past;
pub(crate) mod queue;
