//! Reads that are long: made one at a time, on a thread where nobody else waits for them.
//!
//! ```text
//!  call ──> place (bounded) ──> turn (one) ──> a thread of the blocking pool ──> rest ──> the next turn
//! ```
//! The state is read in pieces of [`PIECE`], so that no entry waits for more than one of them.
//! After each read comes a rest that is [`RESTS`] times as long, so all readers together, however
//! eager, take a quarter of one core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Resources or leases that are read under one lock of the state.
pub const PIECE: usize = 64;
/// Reads that wait for their turn, or have it. More are refused.
pub const READS_MAX: usize = 64;
/// How many times as long as a read the rest after it is.
const RESTS: u32 = 3;

/// Makes reads, one after the other in the order in which they came.
#[derive(Debug)]
pub struct Aside {
    places: Semaphore,
    turn: Arc<Semaphore>,
    least_rest: Duration,
}

/// Why a read was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// Too many others wait.
    #[error("too many reads wait")]
    Busy,
    /// It has panicked.
    #[error("the read failed")]
    Died,
}

impl Aside {
    /// Reads of which each is followed by a rest of at least `least_rest`: what is read may cost
    /// less than to send it.
    pub fn new(least_rest: Duration) -> Self {
        Self { places: Semaphore::new(READS_MAX), turn: Arc::new(Semaphore::new(1)), least_rest }
    }

    /// Makes a read. Whoever leaves while it waits for its turn gives up its place; a read that has
    /// begun ends.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        let _place = self.places.try_acquire().map_err(|_full| NotRead::Busy)?;
        // It is never closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_closed| NotRead::Died)?;
        let least_rest = self.least_rest;
        let reading = tokio::task::spawn_blocking(move || {
            let _resting = Resting { turn: Some(turn), since: Instant::now(), least_rest };
            read()
        });
        reading.await.map_err(|_panicked| NotRead::Died)
    }
}

/// Gives the turn back after the rest that follows a read, also after one that has panicked.
struct Resting {
    turn: Option<OwnedSemaphorePermit>,
    since: Instant,
    least_rest: Duration,
}

impl Drop for Resting {
    fn drop(&mut self) {
        let rest = (self.since.elapsed() * RESTS).max(self.least_rest);
        let turn = self.turn.take();
        Handle::current().spawn(async move {
            tokio::time::sleep(rest).await;
            drop(turn);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn reads_take_turns_and_too_many_are_refused() {
        let aside = Arc::new(Aside::new(Duration::ZERO));
        let (begun, begins) = mpsc::channel();
        let (let_go, held) = mpsc::channel::<()>();
        let first = {
            let aside = Arc::clone(&aside);
            tokio::spawn(async move {
                aside.run(move || (begun.send(()).unwrap(), held.recv().unwrap())).await
            })
        };
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();

        // All the others wait; of those that leave, the places are free again.
        let mut others: Vec<_> = (1..READS_MAX).map(|n| Box::pin(aside.run(move || n))).collect();
        for other in &mut others {
            assert!(futures::poll!(other).is_pending());
        }
        assert_eq!(aside.run(|| ()).await, Err(NotRead::Busy));
        drop(others.pop());
        let mut last = Box::pin(aside.run(|| 0));
        assert!(futures::poll!(&mut last).is_pending());

        let_go.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        assert_eq!(join_all(others).await, (1..READS_MAX - 1).map(Ok).collect::<Vec<_>>());
        assert_eq!(last.await, Ok(0));
    }

    #[tokio::test]
    async fn one_that_panics_stops_no_other() {
        let aside = Aside::new(Duration::ZERO);
        assert_eq!(aside.run(|| panic!("it dies")).await, Err::<(), _>(NotRead::Died));
        assert_eq!(aside.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn after_a_read_comes_a_rest() {
        let read = Duration::from_millis(30);
        let aside = Aside::new(Duration::ZERO);
        let ended = aside.run(move || (std::thread::sleep(read), Instant::now()).1).await.unwrap();
        let begun = aside.run(Instant::now).await.unwrap();
        assert!(begun.duration_since(ended) >= read * RESTS);

        let short = Aside::new(read);
        let ended = short.run(Instant::now).await.unwrap();
        let begun = short.run(Instant::now).await.unwrap();
        assert!(begun.duration_since(ended) >= read);
    }
}
