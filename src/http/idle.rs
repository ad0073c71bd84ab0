//! Connections that wait for a request, so that the one that has waited longest can make room for
//! another caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A connection is not evicted before it has been idle for so long: the request for which it was
/// opened is on its way.
const IDLE_MIN: Duration = Duration::from_millis(50);

/// The connections that are idle, in the order in which they became so.
#[derive(Debug, Default)]
pub struct Idle {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    connections: BTreeMap<u64, Idling>,
}

#[derive(Debug)]
struct Idling {
    since: Instant,
    close: Arc<Notify>,
}

impl Idle {
    /// Asks the connection that has been idle for longest to close; gives whether there is one.
    /// Waits at most [`IDLE_MIN`].
    pub async fn evict(&self) -> bool {
        let oldest =
            self.waiting.lock().connections.first_key_value().map(|(_, oldest)| oldest.since);
        let Some(since) = oldest else { return false };
        sleep_until(since + IDLE_MIN).await;
        let mut waiting = self.waiting.lock();
        let evicted = waiting
            .connections
            .first_entry()
            .filter(|oldest| oldest.get().since.elapsed() >= IDLE_MIN);
        evicted.map(|oldest| oldest.remove().close.notify_one()).is_some()
    }
}

/// A connection among those that may be idle.
#[derive(Debug)]
pub struct Connection {
    idle: Arc<Idle>,
    close: Arc<Notify>,
    /// Its number among the idle ones, 0 while it is busy.
    number: AtomicU64,
}

impl Connection {
    /// A connection that waits for its first request.
    pub fn new(idle: &Arc<Idle>) -> Self {
        let connection =
            Self { idle: Arc::clone(idle), close: Arc::default(), number: AtomicU64::new(0) };
        connection.is_idle();
        connection
    }

    /// It has a request.
    pub fn is_busy(&self) {
        let number = self.number.swap(0, Ordering::Relaxed);
        self.idle.waiting.lock().connections.remove(&number);
    }

    /// It has answered, and waits for the next request.
    pub fn is_idle(&self) {
        let mut waiting = self.idle.waiting.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting
            .connections
            .insert(number, Idling { since: Instant::now(), close: Arc::clone(&self.close) });
        self.number.store(number, Ordering::Relaxed);
    }

    /// Resolves when the connection has to make room.
    pub async fn evicted(&self) {
        self.close.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.is_busy();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_longest_idle_makes_room() {
        let idle = Arc::default();
        let [first, second, third] = std::array::from_fn(|_| Connection::new(&idle));
        first.is_busy();
        third.is_busy();
        third.is_idle();
        first.is_idle();
        drop(second);
        assert!(idle.evict().await);
        let evicted =
            [&first, &third].map(|connection| connection.evicted().now_or_never().is_some());
        assert_eq!(evicted, [false, true]);
        assert!(idle.evict().await);
        assert!(!idle.evict().await, "none is left");
    }

    #[tokio::test]
    async fn a_new_one_has_time_for_its_request() {
        let idle = Arc::default();
        let new = Connection::new(&idle);
        let mut evicting = Box::pin(idle.evict());
        assert_eq!(evicting.as_mut().now_or_never(), None, "it waits");
        new.is_busy();
        assert!(!evicting.await);
    }
}
