//! A lease for which nobody waits is cancelled after 15 s; one for which a call waits is not. The
//! only test that takes long.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::{Duration, Instant};

use common::*;
use ratequeue_limiter::{EventKind, LeaseState};
use ratequeue_raft::caps;

#[tokio::test]
async fn only_leases_with_a_call_are_kept_alive() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    // Until the new leader has kept all places, of which there are none.
    tokio::time::sleep(caps::KEEP_ALL_AFTER + Duration::from_millis(500)).await;
    group.submit_local(put("api", 1)).await.unwrap().outcome.unwrap();
    acquired(&group, acquire("api", "held")).await;
    let begun = Instant::now();
    let kept = acquired(&group, acquire("api", "kept")).await;

    let left = acquired(&group, acquire("api", "left")).await;
    let mut events = group.events(None);
    let attachment = group.attach(kept.id, 0);

    let cancelled = async {
        loop {
            let batches = events.next(usize::MAX).await.unwrap();
            for event in batches.iter().flat_map(|batch| happened(batch)) {
                if let EventKind::Ended { lease, state, .. } = event.kind {
                    return (lease, state);
                }
            }
        }
    };

    let (lease, state) = soon("cancelled", cancelled).await;
    assert_eq!((lease, state), (left.id, LeaseState::Cancelled));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(15) && took < Duration::from_secs(16), "{took:?}");
    assert!(group.read(|state, _| state.is_waiting(kept.id)));
    drop(attachment);
}
