//! How much room is left on the disk, asked for now and then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use ratequeue_storage::SpaceLimit;

use crate::caps;
use crate::checkpoint::slots::Slots;
use crate::replica::Replica;

/// How much room is left, by what may still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Nothing may be written any more.
    Gone,
    /// Only what ends leases.
    Scarce,
    /// Nothing new is taken on. The reserve is for the log, and for the next checkpoint.
    Low,
    /// Everything.
    Enough,
}

/// The disk of a group on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStatus {
    /// How much room is left.
    pub room: Room,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes below which nothing new is taken on.
    pub reserve_bytes: u64,
}

/// Free space on the file system of a group's log and checkpoints.
pub(crate) struct Space {
    log_dir: PathBuf,
    replica: Arc<Replica>,
    slots: Arc<Slots>,
    last: Mutex<Last>,
}

/// The last look.
#[derive(Debug, Clone, Copy)]
struct Last {
    room: Room,
    at: Option<Instant>,
}

impl Space {
    pub fn new(log_dir: PathBuf, replica: Arc<Replica>, slots: Arc<Slots>) -> Self {
        Self { log_dir, replica, slots, last: Mutex::new(Last { room: Room::Enough, at: None }) }
    }

    /// Bytes of records for which the reserve has room: see [`Slots::lacking_bytes`].
    pub fn lacking_bytes(&self) -> u64 {
        self.slots.lacking_bytes(&self.replica.machine.read().state)
    }

    /// How the disk stands; `None` when free space cannot be read.
    pub fn status(&self) -> Option<DiskStatus> {
        let (free_bytes, limit) = self.look()?;
        Some(DiskStatus { room: self.room(), free_bytes, reserve_bytes: limit.free_bytes_min })
    }

    /// Free bytes, and how many there have to be; `None` when that cannot be read.
    fn look(&self) -> Option<(u64, SpaceLimit)> {
        let free_bytes = self.slots.store().free_bytes_at(&self.log_dir).ok()?;
        let limit = SpaceLimit::for_checkpoints(self.lacking_bytes(), self.slots.unused_bytes());
        Some((free_bytes, limit))
    }

    /// How much room there is, as of a moment ago. If free space cannot be
    /// read, the last answer counts.
    pub fn room(&self) -> Room {
        let now = Instant::now();
        let mut last = self.last.lock();
        if last.at.is_some_and(|at| now.saturating_duration_since(at) < caps::SPACE_CHECK_INTERVAL)
        {
            return last.room;
        }

        last.at = Some(now);
        if let Some((free, limit)) = self.look() {
            let room = match free {
                free if free < caps::FREE_BYTES_LAST => Room::Gone,
                free if free < caps::FREE_BYTES_SCARCE => Room::Scarce,
                free if limit.is_full(free, last.room < Room::Enough) => Room::Low,
                _ => Room::Enough,
            };
            if room != last.room {
                let (group, reserve) = (self.slots.group(), limit.free_bytes_min);
                tracing::warn!(%group, free, reserve, ?room, "disk space");
            }
            last.room = room;
        }
        last.room
    }
}
