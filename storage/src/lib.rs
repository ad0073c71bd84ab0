//! What RateQueue keeps on disk, and when it may be trusted.
//!
//! ```text
//!  data folder
//!  ├── lock            one process at a time                       identity.rs
//!  ├── identity.json   which node of which cluster this is
//!  ├── log/<group>/    votes and entries: THE TRUTH                log/
//!  └── state/          sled: records, a checkpoint of the truth    state/
//! ```
//!
//! # Model
//! A node is in a few groups. Each has a **log** ([`LogStore`]): what it promised in elections and
//! every entry, durable before anything is acknowledged. What the entries add up to is decided in
//! memory, by others; now and then it is written down as a **checkpoint** ([`StateStore`]), so that
//! a restart need not replay the whole log, and the log can be purged up to there. Losing a
//! checkpoint costs time. Losing a piece of the log costs the node its vote.
//!
//! # Invariants
//! 1. "Durable" is said after an fsync returned, in order, and never again once one failed
//!    (`tests/log_faults.rs`).
//! 2. A log that is damaged, or shorter than what it acknowledged as committed, does not open
//!    (`tests/log_damage.rs`).
//! 3. A checkpoint counts whole or not at all; every damage to sled's files is noticed
//!    (`tests/state_damage.rs`).
//! 4. A data folder has one owner for life, and one process at a time (`tests/identity.rs`).
//! 5. Every size has a maximum in [`caps`]; every name and key stands in [`keys`], every number in
//!    [`ratequeue_codec::schema`].
//!
//! # What it leaves out
//! It knows neither Raft's rules (beyond order) nor what a record means, has no clock, no async,
//! and never decides what to do about a failure: its errors say what is the matter, the node
//! decides whether to stop or to rebuild. raft-log and sled are named here and nowhere else.

pub mod caps;
pub mod keys;

mod descriptors;
mod file;
mod group;
mod identity;
mod log;
mod space;
mod state;

pub use descriptors::is_out_of_descriptors;
pub use group::{GroupName, InvalidGroupName};
pub use identity::{DataDir, FORMAT, Identity, OpenError};
pub use log::{Entry, LogError, LogId, LogOptions, LogState, LogStore, OnDurable, ReadLimit, Vote};
pub use space::{SpaceLimit, SpaceProbe, checkpoint_bytes, free_bytes};
pub use state::{
    Header, Opened, Record, RecordKey, RecordSink, Slot, SlotError, SlotWriter, StateError,
    StateOptions, StateStore,
};
