//! Reads that are long: made one at a time, on a thread where nobody else waits for them.
//!
//! ```text
//!  call ──> place (bounded) ──> turn (one) ──> a thread of the blocking pool
//! ```
//! The state is read in pieces of [`PIECE`], so that no entry waits for more than one of them.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Resources or leases that are read under one lock of the state.
pub const PIECE: usize = 64;
/// Reads that wait for their turn, or have it. More are refused.
pub const READS_MAX: usize = 64;

/// Makes reads, one after the other in the order in which they came.
#[derive(Debug)]
pub struct Aside {
    places: Semaphore,
    turn: Arc<Semaphore>,
}

/// Why a read was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRead {
    /// Too many others wait.
    Busy,
    /// It has panicked.
    Died,
}

impl Default for Aside {
    fn default() -> Self {
        Self { places: Semaphore::new(READS_MAX), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Aside {
    /// Makes a read. Whoever leaves while it waits for its turn gives up its place; a read that has begun ends.
    pub async fn run<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, NotRead> {
        let _place = self.places.try_acquire().map_err(|_full| NotRead::Busy)?;
        // It is never closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_closed| NotRead::Died)?;
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read()
        });
        reading.await.map_err(|_panicked| NotRead::Died)
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
        let aside = Arc::new(Aside::default());
        let (begun, begins) = mpsc::channel();
        let (let_go, held) = mpsc::channel::<()>();
        let first = {
            let aside = Arc::clone(&aside);
            tokio::spawn(async move { aside.run(move || (begun.send(()).unwrap(), held.recv().unwrap())).await })
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
        let aside = Aside::default();
        assert_eq!(aside.run(|| panic!("it dies")).await, Err::<(), _>(NotRead::Died));
        assert_eq!(aside.run(|| 1).await, Ok(1));
    }
}
