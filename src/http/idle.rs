//! Connections that wait for a request, so that the one that has waited longest can make room for another caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections that are idle, in the order in which they became so.
#[derive(Debug, Default)]
pub struct Idle {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    connections: BTreeMap<u64, Arc<Notify>>,
}

impl Idle {
    /// Asks the connection that has been idle for longest to close; gives whether there is one.
    pub fn evict(&self) -> bool {
        let oldest = self.waiting.lock().connections.pop_first();
        oldest.map(|(_, close)| close.notify_one()).is_some()
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
        let connection = Self { idle: Arc::clone(idle), close: Arc::default(), number: AtomicU64::new(0) };
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
        waiting.connections.insert(number, Arc::clone(&self.close));
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

    #[test]
    fn the_longest_idle_makes_room() {
        let idle = Arc::default();
        let [first, second, third] = std::array::from_fn(|_| Connection::new(&idle));
        first.is_busy();
        third.is_busy();
        third.is_idle();
        first.is_idle();
        drop(second);
        assert!(idle.evict());
        let evicted = [&first, &third].map(|connection| connection.evicted().now_or_never().is_some());
        assert_eq!(evicted, [false, true]);
        assert!(idle.evict());
        assert!(!idle.evict(), "none is left");
    }
}
