//! The connections between two nodes.

use std::fmt;

use super::caps::{self, LaneCaps};

/// A connection of its own for each kind of traffic, so that none waits behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, heartbeats, and what else must not wait.
    Control,
    /// Log entries. Their order matters.
    Log,
    /// Snapshots, in pieces.
    Bulk,
    /// Commands on their way to a leader, and their outcomes.
    Forward,
    /// Calls of clients, on their way to another region. They may wait for long, and their answers
    /// may be large.
    Call,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 5] = [Self::Control, Self::Log, Self::Bulk, Self::Forward, Self::Call];

    /// Its name in logs and views.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Log => "log",
            Self::Bulk => "bulk",
            Self::Forward => "forward",
            Self::Call => "call",
        }
    }

    /// What it may use.
    pub const fn caps(self) -> LaneCaps {
        caps::lane(self)
    }

    /// Its number on the wire; never reused.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Log => 2,
            Self::Bulk => 3,
            Self::Forward => 4,
            Self::Call => 5,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.code() == code)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value a lane.
#[derive(Debug, Default)]
pub(crate) struct EachLane<T> {
    control: T,
    log: T,
    bulk: T,
    forward: T,
    call: T,
}

impl<T> EachLane<T> {
    pub(crate) fn new(mut make: impl FnMut(Lane) -> T) -> Self {
        Self {
            control: make(Lane::Control),
            log: make(Lane::Log),
            bulk: make(Lane::Bulk),
            forward: make(Lane::Forward),
            call: make(Lane::Call),
        }
    }

    pub(crate) fn get(&self, lane: Lane) -> &T {
        match lane {
            Lane::Control => &self.control,
            Lane::Log => &self.log,
            Lane::Bulk => &self.bulk,
            Lane::Forward => &self.forward,
            Lane::Call => &self.call,
        }
    }

    pub(crate) fn get_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Log => &mut self.log,
            Lane::Bulk => &mut self.bulk,
            Lane::Forward => &mut self.forward,
            Lane::Call => &mut self.call,
        }
    }
}
