//! How much room is left, so that new work is refused before the disk is really full.

use std::io;
use std::path::Path;

use crate::caps;

/// Free bytes on the file system of `path` that this process may use (blocks kept back for root do not count).
///
/// # Errors
/// When the path cannot be reached.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// When the data folder counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimit {
    /// Below this many free bytes no new work is granted.
    pub free_bytes_min: u64,
}

impl Default for SpaceLimit {
    fn default() -> Self {
        Self { free_bytes_min: caps::FREE_BYTES_MIN }
    }
}

impl SpaceLimit {
    /// Whether `free_bytes` is too little. `full_before` is the last answer: once full, space must grow past the limit
    /// by a quarter before work is granted again, so that the node does not flap at the edge.
    pub fn is_full(&self, free_bytes: u64, full_before: bool) -> bool {
        let margin = if full_before { self.free_bytes_min / 4 } else { 0 };
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
}
