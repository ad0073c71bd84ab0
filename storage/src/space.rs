//! How much room is left, so that new work is refused before the disk is really full.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::caps;

/// Free bytes on the file system of `path` that this process may use (blocks kept back for root do not count).
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

/// Free bytes that writing so many bytes of records may take, with what sled takes on top, and what is to be left.
pub fn checkpoint_bytes(bytes: u64) -> u64 {
    bytes.saturating_mul(caps::STATE_BYTES_FACTOR).saturating_add(caps::STATE_FREE_BYTES_MIN)
}

/// When the data folder counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimit {
    /// Below this many free bytes no new work is granted.
    pub free_bytes_min: u64,
}

impl SpaceLimit {
    /// The reserve of a node whose newest checkpoint has so many bytes: room for the next one beside it, and never less than
    /// [`caps::FREE_BYTES_MIN`].
    pub fn for_checkpoint(bytes: u64) -> Self {
        Self { free_bytes_min: caps::FREE_BYTES_MIN.max(checkpoint_bytes(bytes)) }
    }

    /// The same limit where the store of the checkpoints has `store_bytes` on the disk, with `bytes` of records in it. What an
    /// older checkpoint, or one that was given up, has left in its file never becomes free space, but the next one is written
    /// there. So it counts, up to what a checkpoint takes beside its records.
    #[must_use]
    pub fn beside_store(self, bytes: u64, store_bytes: u64) -> Self {
        let used = bytes.saturating_mul(caps::STATE_BYTES_FACTOR).saturating_add(caps::STATE_EMPTY_BYTES);
        let unused = store_bytes.saturating_sub(used).min(caps::STATE_FREE_BYTES_MIN);
        Self { free_bytes_min: self.free_bytes_min.saturating_sub(unused) }
    }

    /// Whether `free_bytes` is too little. `full_before` is the last answer: once full, space must grow past the limit
    /// by a quarter of the smallest reserve before work is granted again, so that the node does not flap at the edge.
    pub fn is_full(&self, free_bytes: u64, full_before: bool) -> bool {
        let margin = if full_before { self.free_bytes_min.min(caps::FREE_BYTES_MIN) / 4 } else { 0 };
        free_bytes < self.free_bytes_min.saturating_add(margin)
    }
}

#[cfg(test)]
mod tests {
    use super::SpaceLimit;

    #[test]
    fn full_has_an_edge_with_a_margin() {
        let limit = SpaceLimit { free_bytes_min: 100 };
        assert!(!limit.is_full(100, false));
        assert!(limit.is_full(99, false));
        assert!(limit.is_full(124, true));
        assert!(!limit.is_full(125, true));
    }

    #[test]
    fn the_reserve_grows_with_the_state() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(SpaceLimit::for_checkpoint(0).free_bytes_min, 64 * MIB);
        assert_eq!(SpaceLimit::for_checkpoint(100 * MIB).free_bytes_min, 224 * MIB);
        assert_eq!(SpaceLimit::for_checkpoint(u64::MAX).free_bytes_min, u64::MAX);
    }

    #[test]
    fn what_the_store_has_on_the_disk_unused_counts_up_to_a_bound() {
        const MIB: u64 = 1024 * 1024;
        let limit = |bytes, store| SpaceLimit::for_checkpoint(bytes).beside_store(bytes, store).free_bytes_min;
        assert_eq!(limit(MIB, 0), 64 * MIB);
        assert_eq!(limit(MIB, 8 * MIB), 64 * MIB);
        assert_eq!(limit(MIB, 20 * MIB), 54 * MIB);
        assert_eq!(limit(MIB, 500 * MIB), 40 * MIB);
        assert_eq!(limit(100 * MIB, 200 * MIB), 224 * MIB);
        assert_eq!(limit(u64::MAX, u64::MAX), u64::MAX);
    }
}
