//! Waiting for a condition, with a deadline that is generous: it is there to end a test that fails,
//! not to time one.

use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen at once.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something to see. `what` is what the failure says was waited for.
#[track_caller]
pub fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let start = Instant::now();
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(start.elapsed() < DEADLINE, "{caller}: waited {DEADLINE:?} for this: {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Returns at this instant.
pub async fn until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}
