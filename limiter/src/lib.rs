//! The pure core of RateQueue: resources, limits, leases and the line.
//!
//! # Model
//! A [`State`] is a value that changes in one way: [`State::apply`] takes one log entry (its index, its time stamp, its
//! commands) and gives an [`Outcome`] for each command and [`Event`]s for what happened. It is the state machine that every
//! replica of a group runs on the same log.
//!
//! ```text
//!   entry: index, stamp, commands
//!        |
//!        v
//!   now = max(now, stamp) -> what is due: expiry, timeouts, turns -> each command -> outcomes, events
//!                              (State::run_due)                      acquire  release  extend
//!                                                                    put  patch  delete  keepalive
//! ```
//!
//! # Invariants
//! - `apply` is total and deterministic: no clock, randomness, float, hash-map order, panic or I/O.
//! - Time is [`LogTime`] from the entries and nothing else; it never goes back.
//! - The state is its records ([`Record`]); all else is derived from them. A state rebuilt from records behaves the same.
//! - A decision costs O(log n), whatever the number of resources and waiting leases.
//! - What must hold between resources, lines and leases is stated, and checked, in [`State::check`].
//!
//! # What it leaves out
//! Replication, disks, sockets, clocks. It keeps the catalog of which name lives in which group (`catalog.rs`), and leaves to
//! others to ask it. Names are checked where they are
//! made ([`ResourceName`], [`LimitName`], [`RequestId`]), so nothing here checks them again.

mod acquire;
mod attend;
mod bucket;
pub mod caps;
mod catalog;
mod changes;
mod check;
mod command;
mod due;
mod ended;
mod event;
mod hash;
mod index;
mod lease_id;
mod level;
mod limit;
mod line;
mod live;
mod load;
mod loader;
mod name;
mod outcome;
mod paged;
mod patch;
mod record;
mod release;
mod resource;
mod spec;
mod state;
mod stored;
mod time;
mod view;
mod window;

pub use changes::{Extent, NotCut, Period};
pub use check::Broken;
pub use command::{
    Acquire, Attend, Call, ClaimName, Command, Condition, DeleteResource, Detach, Extend, FenceClaims, Keepalive,
    Metadata, NO_CALL, PatchResource, PutClaimed, PutResource, Release, UnclaimName, metadata_fits,
};
pub use event::{Event, EventKind};
pub use lease_id::{BadLeaseId, LeaseId};
pub use level::{Features, LEVEL_CALLERS, LEVEL_FIRST, LEVEL_MAX, LEVEL_NAMES};
pub use load::{BadLoad, Load};
pub use loader::Loader;
pub use name::{BadName, LimitName, Placement, RequestId, ResourceName};
pub use outcome::{
    Blocked, ClaimView, End, Grant, LeaseState, LeaseView, LimitUsage, LiveLeases, Outcome, PastClaims, Phase, Place,
    Refusal, Released, Reply, ResourceUsage, ResourceView,
};
pub use patch::{LeasePatch, LimitPatch, Patch, QueuePatch, ResourcePatch};
pub use record::{Catalog, Claim, LeaseRecord, Memo, Meta, Record, RecordKey, ResourceRecord};
pub use spec::{
    Algorithm, Cost, InvalidResource, Kind, LeaseSpec, LimitDraft, LimitSpec, QueueSpec, ResourceSpec, Rule, TrueUp,
};
pub use state::{Applied, Cut, Inconsistent, State};
pub use time::LogTime;
