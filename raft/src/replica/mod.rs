//! This node's copy of the group's state, and everybody who has to hear when it changes.

pub mod clock;

pub(crate) mod attachments;
pub(crate) mod due;
pub(crate) mod growth;
pub(crate) mod journal;
pub(crate) mod role;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use ratequeue_limiter::{LeaseId, LogTime, Outcome, State};
use ratequeue_storage::LogId;

use crate::format::batch::EntryBatch;
use crate::format::types::StoredMembership;
use crate::node::NodeId;
use crate::replica::attachments::Attachments;
use crate::replica::clock::LogClock;
use crate::replica::due::Due;
use crate::replica::growth::CheckpointTrigger;
use crate::replica::journal::{Happening, Journal};
use crate::replica::role::{LeaderContact, RoleWatch};

/// The state, and how far it is.
#[derive(Debug)]
pub(crate) struct Machine {
    pub state: State,
    /// The last entry that was applied.
    pub applied: Option<LogId>,
    /// The last membership that was applied.
    pub membership: StoredMembership,
}

impl Machine {
    /// Whether an entry comes after what was applied.
    fn is_next(&self, id: LogId) -> bool {
        self.applied.is_none_or(|last| last.index < id.index && last.term <= id.term)
    }
}

impl Default for Machine {
    /// Before the first entry.
    fn default() -> Self {
        Self {
            state: State::seeded(rand::random()),
            applied: None,
            membership: StoredMembership::default(),
        }
    }
}

/// What the parts of a group share on this node. It knows neither openraft nor the stores.
pub(crate) struct Replica {
    pub group: String,
    pub node: NodeId,
    /// Held for one entry, one read, or one step of a checkpoint, and never across an await.
    pub machine: RwLock<Machine>,
    pub clock: Arc<LogClock>,
    pub roles: RoleWatch,
    pub leader_contact: LeaderContact,
    pub due: Due,
    pub attachments: Attachments,
    pub journal: Journal,
    pub checkpoints: CheckpointTrigger,
    /// The feature level of the state, without its lock.
    level: AtomicU32,
}

impl Replica {
    /// This node's copy of a group; what its log has up to `replayed_to` was there before.
    pub fn new(
        group: String,
        node: NodeId,
        machine: Machine,
        clock: Arc<LogClock>,
        checkpoints: CheckpointTrigger,
        replayed_to: u64,
    ) -> Self {
        let due = Due::default();
        due.set(machine.state.next_due());
        let level = AtomicU32::new(machine.state.feature_level());
        let journal = Journal::new(machine.applied.map_or(0, |id| id.index), replayed_to);

        Self {
            level,
            group,
            node,
            machine: RwLock::new(machine),
            clock,
            roles: RoleWatch::default(),
            leader_contact: LeaderContact::default(),
            due,
            attachments: Attachments::default(),
            journal,
            checkpoints,
        }
    }

    /// Applies an entry of commands.
    pub fn apply(&self, id: LogId, batch: EntryBatch) -> Vec<Outcome> {
        let (applied, due) = {
            let mut machine = self.machine.write();
            debug_assert!(machine.is_next(id), "entry {id} is applied out of order");
            machine.applied = Some(id);
            let applied = machine.state.apply(id.index, batch.stamp, batch.commands);
            self.level.store(machine.state.feature_level(), Ordering::Relaxed);
            (applied, machine.state.next_due())
        };

        self.due.set(due);
        self.attachments.wake(&applied.events);
        if !applied.events.is_empty() {
            let made = self.made_at(batch.stamp);
            let what = Happening::Events(applied.events);
            self.journal.record(id.index, made, self.roles.leading(), what);
        }

        applied.outcomes
    }

    /// About when an entry was made that has this stamp.
    fn made_at(&self, stamp: LogTime) -> Instant {
        let (now, age) = (Instant::now(), self.clock.now().since_us(stamp));
        now.checked_sub(Duration::from_micros(age)).unwrap_or(now)
    }

    /// Applies an entry of the protocol's own. A leader begins with one.
    pub fn apply_other(&self, id: LogId, membership: Option<StoredMembership>) {
        let before = {
            let mut machine = self.machine.write();
            debug_assert!(machine.is_next(id), "entry {id} is applied out of order");
            if let Some(membership) = membership {
                machine.membership = membership;
            }
            machine.applied.replace(id)
        };

        if before.is_none_or(|before| (before.term, before.node) != (id.term, id.node)) {
            let what = Happening::NewLeader { leader: id.node, term: id.term };
            self.journal.record(id.index, Instant::now(), self.roles.leading(), what);
        }
    }

    /// Puts a whole state in place of this one, which is returned.
    pub fn replace(&self, machine: Machine) -> Machine {
        self.clock.restart(machine.state.now());
        let due = machine.state.next_due();
        self.level.store(machine.state.feature_level(), Ordering::Relaxed);
        let applied = machine.applied.map_or(0, |id| id.index);
        let before = std::mem::replace(&mut *self.machine.write(), machine);
        self.journal.restart(applied);
        self.due.set(due);
        self.attachments.wake_all();
        before
    }

    pub fn read<R>(&self, read: impl FnOnce(&State, LogTime) -> R) -> R {
        let now = self.clock.now();
        let machine = self.machine.read();
        read(&machine.state, now.max(machine.state.now()))
    }

    /// The feature level of the group, as far as this node has applied.
    pub fn level(&self) -> u32 {
        self.level.load(Ordering::Relaxed)
    }

    pub fn is_waiting(&self, lease: LeaseId) -> bool {
        self.machine.read().state.is_waiting(lease)
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("group", &self.group)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
