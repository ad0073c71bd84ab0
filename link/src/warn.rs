//! Warnings about other nodes, at a bounded rate: whoever sends garbage must not fill the disk with
//! our log.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::caps;

#[derive(Debug, Default)]
pub(crate) struct Warnings {
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    left_out: u64,
}

impl Warnings {
    /// Whether one more line may be written; if so, how many were left out before it.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock();
        match window.as_mut() {
            Some(current) if now.duration_since(current.began) < caps::WARN_WINDOW => {
                if current.written < caps::WARNINGS_MAX {
                    current.written += 1;
                    return Some(0);
                }
                current.left_out = current.left_out.saturating_add(1);
                None
            }
            Some(_) | None => {
                let left_out = window.as_ref().map_or(0, |last| last.left_out);
                *window = Some(Window { began: now, written: 1, left_out: 0 });
                Some(left_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Instant, Warnings, caps};

    #[test]
    fn what_is_left_out_is_counted() {
        let warnings = Warnings::default();
        let now = Instant::now();
        for _ in 0..caps::WARNINGS_MAX {
            assert_eq!(warnings.admit(now), Some(0));
        }
        assert_eq!((warnings.admit(now), warnings.admit(now)), (None, None));
        let later = now + caps::WARN_WINDOW;
        assert_eq!(warnings.admit(later), Some(2));
        assert_eq!(warnings.admit(later), Some(0));
    }
}
