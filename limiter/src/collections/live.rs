//! The leases of a resource that wait or are held. Most resources have none at most times, and then
//! take no room for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use crate::collections::queue::Queue;
use crate::model::time::LogTime;

/// The live leases of a resource; nothing but an empty pointer while there are none.
#[derive(Debug, Default)]
pub(crate) struct LiveLeases(Option<Box<Leases>>);

/// Leases that wait or are held.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    pub queue: Queue,
    pub held: BTreeSet<u64>,
    /// All of them by when time alone does something to them.
    pub timers: BTreeSet<(LogTime, u64)>,
}

static NONE: Leases = Leases {
    queue: Queue { priorities: BTreeMap::new() },
    held: BTreeSet::new(),
    timers: BTreeSet::new(),
};

impl LiveLeases {
    /// Gives the room back when the last one has gone.
    pub fn tidy(&mut self) {
        if self.timers.is_empty() {
            debug_assert!(
                self.held.is_empty() && self.queue.kept() == 0,
                "a live lease has a timer"
            );
            self.0 = None;
        }
    }
}

impl Deref for LiveLeases {
    type Target = Leases;
    fn deref(&self) -> &Leases {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for LiveLeases {
    fn deref_mut(&mut self) -> &mut Leases {
        self.0.get_or_insert_default()
    }
}
