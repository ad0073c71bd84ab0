//! When time alone changes something next, told from apply to the ticker without waking it for
//! every entry.

use std::sync::atomic::{AtomicU64, Ordering};

use ratequeue_limiter::LogTime;
use tokio::sync::Notify;

const NEVER: u64 = u64::MAX;

/// The next due time of the state, and the time for which the ticker sleeps.
#[derive(Debug)]
pub(crate) struct Due {
    next: AtomicU64,
    /// Until when the ticker sleeps. Only an earlier due time wakes it.
    armed: AtomicU64,
    earlier: Notify,
}

impl Default for Due {
    fn default() -> Self {
        Self { next: AtomicU64::new(NEVER), armed: AtomicU64::new(NEVER), earlier: Notify::new() }
    }
}

impl Due {
    /// Apply says when something is due next.
    pub fn set(&self, due: Option<LogTime>) {
        let due = due.map_or(NEVER, |at| at.0);
        self.next.store(due, Ordering::SeqCst);
        if due < self.armed.load(Ordering::SeqCst) {
            self.earlier.notify_one();
        }
    }

    /// When something is due next; from now on, only what is due before that wakes
    /// [`Due::earlier`].
    pub fn arm(&self) -> Option<LogTime> {
        loop {
            let next = self.next.load(Ordering::SeqCst);
            self.armed.store(next, Ordering::SeqCst);
            // Whoever set an earlier time between the two saw the old alarm and woke nobody.
            if self.next.load(Ordering::SeqCst) >= next {
                return (next != NEVER).then_some(LogTime(next));
            }
        }
    }

    /// Has the ticker look around again.
    pub fn nudge(&self) {
        self.earlier.notify_one();
    }

    /// Returns when something became due before what was armed; now and then for no reason.
    pub async fn earlier(&self) {
        self.earlier.notified().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    #[test]
    fn only_an_earlier_time_wakes() {
        let due = Due::default();
        assert_eq!(due.arm(), None);
        due.set(Some(LogTime(100)));
        due.earlier().now_or_never().unwrap();
        assert_eq!(due.arm(), Some(LogTime(100)));
        due.set(Some(LogTime(200)));
        assert!(due.earlier().now_or_never().is_none());
        due.set(Some(LogTime(50)));
        due.earlier().now_or_never().unwrap();
        assert_eq!(due.arm(), Some(LogTime(50)));
    }
}
