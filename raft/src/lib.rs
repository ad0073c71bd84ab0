//! One replicated group: openraft behind RateQueue's own facade.
//!
//! # Model
//! A [`Group`] is one Raft group as seen from one of its nodes: a log that a majority agrees on,
//! and the limiter's `State` that the log adds up to. Commands go in by [`Group::submit_local`] and
//! come out as outcomes once they are durable on a majority and applied here. Everything else
//! (ticks, keepalives, checkpoints, purging, elections) it does by itself.
//!
//! ```text
//!  submit ──> proposer ──> openraft core ──> log (durable) ──> apply ──> outcome to the caller
//!             one entry     replicate,                           │
//!             of all that   elect                                ├──> attachments wake, events (leader)
//!             wait, stamped                                      ├──> due time ──> tick task ──> proposer
//!             with log time                                      └──> growth ──> checkpoint thread ──> purge
//! ```
//!
//! # Invariants
//! - Nothing is answered before it is durable on a majority; "durable" is said by the log after its
//!   fsync.
//! - Every submitted command is answered exactly once, in bounded time, and the answer never claims
//!   more than is known.
//! - Log time never runs faster than real time, and no wall clock is read ([`clock`]).
//! - Applying never waits for the disk; the state's lock is never held across an await.
//! - A checkpoint counts whole or not at all, and the log is kept from the older whole one on.
//! - A group without due work, calls or traffic of its own writes nothing and wakes nobody but its
//!   heartbeats.
//! - A failed fsync, or an entry that cannot be applied, ends the group: [`Group::health`].
//!
//! # What it leaves out
//! Sockets (a [`Transport`] carries its messages), HTTP, which group a resource belongs to, and
//! what a command means. openraft is named here and nowhere else, and none of its types is stored
//! or sent.

pub mod caps;

mod checkpoint;
mod consensus;
mod error;
mod format;
mod group;
mod health;
mod node;
mod peers;
mod propose;
mod replay;
mod replica;
#[cfg(test)]
mod suite;
mod time_left;
mod timing;
mod transport;

pub use error::{FormError, OpenError, SubmitError, TooLarge};
pub use group::{
    Attachment, ChangeError, CheckpointStatus, Group, GroupOptions, GroupStatus, Looked, NodeRole,
    Progress, ShutdownError, VoterChange, Woken, tolerated_losses,
};
pub use health::Health;
pub use node::{Address, NodeId};
pub use peers::{Calls, Peers};
pub use propose::proposal::Applied;
pub use propose::space::{DiskStatus, Room};
pub use ratequeue_link::{CallRefused, LinkError, LinkOptions, ProbeError};
pub use replay::{Replay, Replayed};
pub use replica::clock;
pub use replica::growth::{CheckpointPolicy, CheckpointSkipped};
pub use replica::journal::{EventBatch, EventReader, EventsError, Happening, JournalGap, Witness};
pub use timing::Timing;
pub use transport::{Lane, NoTransport, Responses, Target, Transport, TransportError};
