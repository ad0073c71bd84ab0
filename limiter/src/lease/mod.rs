//! The life of a lease. `transitions.rs` has its picture and every change of its stage; the other
//! files say when one is made: when its time is over (`overdue.rs`), when its turn comes
//! (`settle.rs`), when its caller goes or comes back (`caller.rs`), when it is given back
//! (`release.rs`), and when it is forgotten (`retention.rs`).

pub(crate) mod caller;
pub(crate) mod find;
pub(crate) mod overdue;
pub(crate) mod release;
pub(crate) mod retention;
pub(crate) mod settle;
pub(crate) mod transitions;
