//! Checkpoints on a disk that is full, or nearly so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ratequeue_limiter::{Command, Metadata};
use ratequeue_raft::{Group, SubmitError};
use ratequeue_storage::SpaceProbe;

use crate::common::*;
use crate::{reopened_is_equal, work};

/// The size of a file of the log.
const FILE_BYTES: u64 = ratequeue_storage::caps::LOG_CHUNK_BYTES_MAX as u64;

/// A disk of which the test says how much is free.
fn disk() -> (Opening, Arc<AtomicU64>) {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let told = Arc::clone(&free);
    let space = SpaceProbe::new(move |_| Ok(told.load(Ordering::SeqCst)));
    (Opening { space, ..Opening::default() }, free)
}

/// More than so many bytes of log.
async fn fill_log(group: &Group, bytes: u64) {
    group.submit_local(put("r", 1_000_000)).await.unwrap().outcome.unwrap();
    let metadata = Metadata::new(BTreeMap::from([("job".to_owned(), "x".repeat(1_000))])).unwrap();
    let mut round = 0;
    while group.status().log_bytes <= bytes {
        let acquires = (0..1_000).map(|n| {
            let Command::Acquire(mut acquire) = acquire("r", &format!("{round}-{n}")) else {
                unreachable!()
            };
            acquire.metadata.clone_from(&metadata);
            group.submit_local(Command::Acquire(acquire))
        });
        futures::future::try_join_all(acquires).await.unwrap();
        round += 1;
    }
}

#[tokio::test]
async fn a_log_that_keeps_the_disk_full_is_purged() {
    let dir = tempfile::tempdir().unwrap();
    let (opening, free) = disk();
    let group = open_alone_with(dir.path(), &opening).await;
    fill_log(&group, FILE_BYTES).await;
    drop(group);

    // Nothing that is new may be decided, so there is nothing new for a second checkpoint either.
    free.store(64 * 1024 * 1024 - 1, Ordering::SeqCst);
    let group = try_open(dir.path(), &opening).await.unwrap();
    eventually("leads", || group.is_leader().then_some(())).await;
    let refused = group.submit_local(acquire("r", "late")).await;
    assert!(matches!(refused, Err(SubmitError::StorageFull)), "{refused:?}");
    eventually("one checkpoint", || group.status().checkpoint).await;
    eventually("the other, and purged", || (group.status().log_bytes <= FILE_BYTES).then_some(()))
        .await;
    assert_eq!(group.status().purged, group.status().applied);

    let digest = group.digest().await.1;
    drop(group);
    reopened_is_equal(dir.path(), digest).await;
}

/// A state that has grown past its last checkpoint needs room for the next ones, or the log can
/// never be purged again.
#[tokio::test]
async fn the_reserve_is_room_for_the_state_in_both_slots() {
    let dir = tempfile::tempdir().unwrap();
    let (opening, free) = disk();
    let group = open_alone_with(dir.path(), &opening).await;
    fill_log(&group, FILE_BYTES / 2).await;

    free.store(85 * 1024 * 1024, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = group.submit_local(acquire("r", "early")).await;
    assert!(matches!(refused, Err(SubmitError::StorageFull)), "{refused:?}");

    // Nothing is decided meanwhile, so nothing but the want of room asks for the checkpoints.
    let purged = || group.status().purged.is_some().then_some(());
    eventually("both checkpoints", purged).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    group.submit_local(acquire("r", "later")).await.unwrap().outcome.unwrap();
}

#[tokio::test]
async fn a_stop_without_room_for_a_checkpoint_is_a_clean_one() {
    let dir = tempfile::tempdir().unwrap();
    let (opening, free) = disk();
    let group = open_alone_with(dir.path(), &opening).await;
    work(&group, 0).await;
    let digest = group.digest().await.1;
    free.store(6 * 1024 * 1024, Ordering::SeqCst);
    group.shutdown().await.unwrap();
    drop(group);
    let group = reopened_is_equal(dir.path(), digest).await;
    assert_eq!(group.status().checkpoint, None);
}
