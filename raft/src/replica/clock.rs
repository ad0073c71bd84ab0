//! Log time: what a leader stamps on its entries.
//!
//! ```text
//!   stamp = base.time + (now - base.mono)
//!           base.time: stamp of the last entry in this node's log that another leader (or an earlier process) stamped
//!           base.mono: when this node appended it (or started)
//! ```
//!
//! An entry reaches a follower after it was stamped, so a new leader's clock is behind by that
//! delay and never ahead: log time may stand still for a moment, and never runs faster than real
//! time. A leader's own entries leave the base alone; moving it to each of them would lose the time
//! between stamping and appending, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use ratequeue_limiter::LogTime;

use crate::format::batch;

/// A clock that never goes back and knows nothing of calendars. A simulator puts its own in place.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed instant of this process.
    fn now(&self) -> Duration;
}

/// The system's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The clock of one group on this node.
pub(crate) struct LogClock {
    clock: Arc<dyn Clock>,
    base: Mutex<Base>,
}

struct Base {
    time: LogTime,
    mono: Duration,
    /// A later entry whose stamp nobody has asked for yet.
    unread: Option<(Bytes, Duration)>,
}

impl LogClock {
    /// A clock that goes on from `time` now.
    pub fn new(clock: Arc<dyn Clock>, time: LogTime) -> Self {
        let mono = clock.now();
        Self { clock, base: Mutex::new(Base { time, mono, unread: None }) }
    }

    /// Notes that an entry with this content, stamped elsewhere, was appended just now.
    pub fn appended(&self, batch: Bytes) {
        let now = self.clock.now();
        self.base.lock().unread = Some((batch, now));
    }

    /// Notes that the state was replaced by a snapshot that ends at `time`.
    pub fn restart(&self, time: LogTime) {
        let mono = self.clock.now();
        *self.base.lock() = Base { time, mono, unread: None };
    }

    /// Log time as this node would stamp it now; an estimate while another node leads.
    pub fn now(&self) -> LogTime {
        let now = self.clock.now();
        let mut base = self.base.lock();
        if let Some((bytes, mono)) = base.unread.take()
            // What cannot be read stops this node when it is applied; here it only must not move the clock.
            && let Ok(stamp) = batch::stamp(&bytes)
        {
            base.time = stamp;
            base.mono = mono;
        }
        let elapsed = now.saturating_sub(base.mono);
        base.time.after_us(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Duration {
            Duration::from_micros(self.0.load(Ordering::Relaxed))
        }
    }

    impl Hand {
        fn pass(&self, us: u64) {
            self.0.fetch_add(us, Ordering::Relaxed);
        }
    }

    #[test]
    fn runs_at_the_rate_of_real_time_from_the_last_foreign_stamp() {
        let hand = Arc::new(Hand::default());
        let clock = LogClock::new(hand.clone(), LogTime(1_000));
        hand.pass(50);
        assert_eq!(clock.now(), LogTime(1_050));
        // A slower leader's entry moves it back: otherwise log time would jump between that entry
        // and the next.
        clock.appended(batch::encode(LogTime(1_020), &[]).unwrap());
        hand.pass(10);
        assert_eq!(clock.now(), LogTime(1_030));
        hand.pass(10);
        assert_eq!(clock.now(), LogTime(1_040));
        clock.restart(LogTime(7));
        hand.pass(3);
        assert_eq!(clock.now(), LogTime(10));
    }

    #[test]
    fn an_unreadable_entry_does_not_move_it() {
        let hand = Arc::new(Hand::default());
        let clock = LogClock::new(hand.clone(), LogTime(5));
        clock.appended(Bytes::from_static(b"nonsense"));
        hand.pass(2);
        assert_eq!(clock.now(), LogTime(7));
    }
}
