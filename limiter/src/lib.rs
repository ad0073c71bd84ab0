//! The pure core of RateQueue: resources, limits, leases and the queue.
//!
//! # Model
//! A [`State`] is a value that changes in one way: [`State::apply`] takes one log entry (its index,
//! its time stamp, its commands) and gives an [`Outcome`] for each command and [`Event`]s for what
//! happened. It is the state machine that every replica of a group runs on the same log.
//!
//! ```text
//!   entry: index, stamp, commands
//!        |
//!        v
//!   now = max(now, stamp) -> what is due: expiry, timeouts, turns -> each command -> outcomes, events
//!                              (State::pass_time)                    acquire  release  extend
//!                                                                    put  patch  delete  keepalive
//! ```
//!
//! # Invariants
//! - `apply` is total and deterministic: no clock, randomness, float, hash-map order, panic or I/O.
//! - Time is [`LogTime`] from the entries and nothing else; it never goes back.
//! - The state is its records ([`Record`]); all else is derived from them. A state rebuilt from
//!   records behaves the same.
//! - A decision costs O(log n), whatever the number of resources and waiting leases.
//! - What must hold between resources, queues and leases is stated, and checked, in
//!   [`State::check`].
//!
//! # What it leaves out
//! Replication, disks, sockets, clocks. It keeps the catalog of which name lives in which group
//! (`state/catalog.rs`), and leaves to others to ask it. Names and numbers are checked where they
//! are made ([`ResourceName`], [`LimitName`], [`RequestId`], [`Priority`], [`WaitMs`], [`TtlMs`],
//! [`Metadata`]), so nothing here checks them again.
//!
//! # Rooms
//! Each folder imports only those above it in this list (`scripts/check/rooms.sh`):
//!
//! | room | what is in it |
//! |---|---|
//! | `model` | what is said: commands and their values, outcomes, events |
//! | `limit` | how one limit counts: token bucket, sliding window, concurrency |
//! | `collections` | containers that know no rule |
//! | `state` | what is kept: records, and the indexes that are derived from them |
//! | `lease` | the life of a lease: waiting, held, ended |
//! | `commands` | what an entry does: one file a command |

pub mod caps;
mod collections;
mod commands;
mod lease;
mod limit;
mod model;
mod state;

pub use commands::Applied;
pub use model::command::{
    Acquire, Attend, Call, ClaimName, Command, Condition, DeleteResource, Detach, Extend,
    FenceClaims, Keepalive, NO_CALL, PatchResource, PutClaimed, PutResource, Release, UnclaimName,
};
pub use model::event::{Event, EventKind, Rejection, Standing};
pub use model::lease_id::{BadLeaseId, LeaseId};
pub use model::level::{Features, LEVEL_CALLERS, LEVEL_FIRST, LEVEL_MAX, LEVEL_NAMES};
pub use model::load::{BadLoad, Load};
pub use model::name::{BadName, LimitName, Placement, RequestId, ResourceName};
pub use model::numbers::{Bounds, Metadata, OutOfBounds, Priority, TtlMs, WaitMs};
pub use model::outcome::{
    Blocked, ClaimView, End, Grant, LeaseState, LeaseView, LimitUsage, LiveLeases, Outcome,
    PastClaims, Phase, Place, QueueHead, Refusal, Released, Reply, ResourceUsage, ResourceView,
};
pub use model::patch::{LeasePatch, LimitPatch, Patch, QueuePatch, ResourcePatch};
pub use model::spec::{
    Algorithm, Cost, InvalidResource, Kind, LeaseSpec, LimitDraft, LimitSpec, QueueSpec,
    ResourceSpec, Rule, TrueUp,
};
pub use model::time::LogTime;
pub use state::changes::{Extent, NotCut, Period};
pub use state::check::Broken;
pub use state::claim::{Catalog, Claim};
pub use state::defect::Inconsistent;
pub use state::lease::LeaseRecord;
pub use state::load::Loader;
pub use state::records::{Meta, Record, RecordKey, RememberedRequest};
pub use state::resource::ResourceRecord;
pub use state::view::Corrections;
pub use state::{Cut, State};
