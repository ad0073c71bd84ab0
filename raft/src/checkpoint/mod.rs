//! The two checkpoint slots of a group, which have one owner: what each holds, and what the next
//! one must contain.

pub(crate) mod error;
pub(crate) mod load;
pub(crate) mod slots;
pub(crate) mod table;
pub(crate) mod thread;
