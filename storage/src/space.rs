//! How much room is left, so that new work is refused before the disk is really full.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::caps;

/// Free bytes on the file system of `path` that this process may use (blocks kept back for root do
/// not count).
///
/// # Errors
/// When the path cannot be reached.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Tells how many bytes are free. The system's answer, unless a test puts its own in place.
#[derive(Clone)]
pub struct SpaceProbe(Arc<Probe>);

type Probe = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

impl SpaceProbe {
    /// A probe that answers what `free` says.
    pub fn new(free: impl Fn(&Path) -> io::Result<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(free))
    }

    /// Free bytes on the file system of `path`.
    ///
    /// # Errors
    /// As [`free_bytes`].
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        (self.0)(path)
    }
}

impl Default for SpaceProbe {
    fn default() -> Self {
        Self::new(free_bytes)
    }
}

impl fmt::Debug for SpaceProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpaceProbe").finish_non_exhaustive()
    }
}

/// Free bytes that there must be before so many bytes of records are written, when the file of the
/// checkpoints has `unused_bytes`: what sled takes for them on the disk, and what the log must
/// keep.
pub fn checkpoint_bytes(bytes: u64, unused_bytes: u64) -> u64 {
    let written = bytes.saturating_mul(caps::STATE_BYTES_FACTOR);
    if written.saturating_add(caps::STATE_EMPTY_BYTES) <= unused_bytes {
        return caps::STATE_FREE_BYTES_LAST;
    }
    written.saturating_sub(unused_bytes).saturating_add(caps::STATE_FREE_BYTES_MIN)
}

/// When the data folder counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimit {
    /// Below this many free bytes no new work is granted.
    pub free_bytes_min: u64,
}

impl SpaceLimit {
    /// The reserve of a node whose next checkpoints have to write so many bytes of records, and
    /// whose file of the checkpoints has `unused_bytes`: room for them beside
    /// [`caps::FREE_BYTES_MIN`]. With less the log could not be purged any more.
    pub fn for_checkpoints(lacking_bytes: u64, unused_bytes: u64) -> Self {
        let written = lacking_bytes.saturating_mul(caps::STATE_BYTES_FACTOR);
        // The least reserve has room for a small checkpoint, too, which may be there already.
        let unused = unused_bytes.min(written.saturating_add(caps::STATE_FREE_BYTES_MIN));
        let reserve = caps::FREE_BYTES_MIN.saturating_add(written);
        Self { free_bytes_min: reserve.saturating_sub(unused) }
    }

    /// Whether `free_bytes` is too little. `full_before` is the last answer: once full, space must
    /// grow past the limit by a quarter of the smallest reserve before work is granted again,
    /// so that the node does not flap at the edge.
    pub fn is_full(&self, free_bytes: u64, full_before: bool) -> bool {
        let margin =
            if full_before { self.free_bytes_min.min(caps::FREE_BYTES_MIN) / 4 } else { 0 };
        free_bytes < self.free_bytes_min.saturating_add(margin)
    }
}

#[cfg(test)]
mod tests {
    use super::{SpaceLimit, checkpoint_bytes};

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn full_has_an_edge_with_a_margin() {
        let limit = SpaceLimit { free_bytes_min: 100 };
        assert!(!limit.is_full(100, false));
        assert!(limit.is_full(99, false));
        assert!(limit.is_full(124, true));
        assert!(!limit.is_full(125, true));
    }

    #[test]
    fn the_reserve_is_room_for_what_the_slots_lack() {
        let reserve = |lacking, unused| SpaceLimit::for_checkpoints(lacking, unused).free_bytes_min;
        assert_eq!(reserve(0, 0), 64 * MIB);
        assert_eq!(reserve(0, 500 * MIB), 40 * MIB);
        assert_eq!(reserve(100 * MIB, 0), 264 * MIB);
        assert_eq!(reserve(100 * MIB, 50 * MIB), 214 * MIB);
        assert_eq!(reserve(100 * MIB, 500 * MIB), 40 * MIB);
        assert_eq!(reserve(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn a_checkpoint_needs_little_room_when_its_file_has_enough() {
        assert_eq!(checkpoint_bytes(0, 0), 24 * MIB);
        assert_eq!(checkpoint_bytes(10 * MIB, 0), 44 * MIB);
        assert_eq!(checkpoint_bytes(10 * MIB, 8 * MIB), 36 * MIB);
        assert_eq!(checkpoint_bytes(10 * MIB, 28 * MIB), 12 * MIB);
        assert_eq!(checkpoint_bytes(u64::MAX, 0), u64::MAX);
    }
}
