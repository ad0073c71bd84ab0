//! Checkpoints, purging, and what becomes of damaged ones. Every restart must give the same state.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::hub::Cluster;
use common::*;
use ratequeue_limiter::{Command, LeaseId, Metadata};
use ratequeue_raft::{CheckpointPolicy, Group, OpenError, SubmitError};
use ratequeue_storage::{
    Entry, GroupName, Header, LogId, LogOptions, LogStore, Slot, SpaceProbe, StateStore,
};

/// The size of a file of the log.
const FILE_BYTES: u64 = ratequeue_storage::caps::LOG_CHUNK_BYTES_MAX as u64;

/// Some work that touches every kind of record, the same each time but for `round`.
async fn work(group: &Group, round: usize) -> LeaseId {
    group.submit_local(put(&format!("r{round}"), 2)).await.unwrap().outcome.unwrap();
    group.submit_local(put("shared", 3)).await.unwrap().outcome.unwrap();
    let mut last = None;
    for n in 0..6 {
        let view = acquired(group, acquire("shared", &format!("{round}-{n}"))).await;
        if n % 2 == 0 {
            group.submit_local(release(view.id)).await.unwrap().outcome.unwrap();
        }
        last = Some(view.id);
    }
    acquired(group, acquire(&format!("r{round}"), &format!("own-{round}"))).await;
    last.unwrap()
}

async fn reopened_is_equal(dir: &Path, digest: u64) -> Group {
    let group = open_alone(dir).await;
    group.read_barrier_local().await.unwrap();
    assert_eq!(group.digest().await.1, digest);
    group
}

/// The slots of the group, newest first.
fn slots(dir: &Path) -> Vec<(Slot, Header)> {
    let store = open_store(dir);
    let slots = slots_of(&store);
    store.close();
    slots
}

fn slots_of(store: &StateStore) -> Vec<(Slot, Header)> {
    let headers = store.slots(&GroupName::new("test").unwrap());
    let mut slots: Vec<_> = Slot::ALL
        .into_iter()
        .zip(headers)
        .filter_map(|(slot, header)| Some((slot, header?)))
        .collect();
    slots.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
    slots
}

/// Puts another record in the place of one, under a slot's header.
fn damage(dir: &Path, slot: Slot) {
    let store = open_store(dir);
    let group = GroupName::new("test").unwrap();
    let header = store.header(&group, slot).unwrap();
    let records = store.page(&group, slot, None, 100).unwrap();
    let [.., other, victim] = records.as_slice() else { panic!("too few records") };
    let mut writer = store.begin(&group, slot).unwrap();
    writer.put(victim.kind, victim.id, &other.value).unwrap();
    writer.commit(&header).unwrap();
    store.close();
}

#[tokio::test]
async fn the_log_is_purged_up_to_the_older_checkpoint_and_restarts_are_equal() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = open_alone(dir.path()).await;
    let mut made = Vec::new();

    for round in 0..6 {
        work(&group, round).await;
        made.push(group.checkpoint().await.unwrap());
        let status = group.status();
        assert_eq!(status.checkpoint.unwrap().sequence, made.len() as u64);
        if made.len() >= 2 {
            let upto = made[made.len() - 2];
            eventually("purged", || (group.status().purged == upto).then_some(())).await;
        } else {
            assert_eq!(status.purged, None);
        }
        work(&group, 100 + round).await;
        let digest = group.digest().await.1;
        drop(group);
        group = reopened_is_equal(dir.path(), digest).await;
    }

    // Without a restart in between, too.
    for round in 6..10 {
        work(&group, round).await;
        group.checkpoint().await.unwrap();
    }

    let digest = group.digest().await.1;
    group.shutdown().await.unwrap();
    drop(group);
    reopened_is_equal(dir.path(), digest).await;
}

#[tokio::test]
async fn a_checkpoint_without_news_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    work(&group, 0).await;
    let first = group.checkpoint().await.unwrap();
    assert_eq!(group.checkpoint().await.unwrap(), first);
    assert_eq!(group.status().checkpoint.unwrap().sequence, 1);
}

/// Every slot that counts holds all of its records.
fn assert_whole(dir: &Path) {
    let store = open_store(dir);
    for (slot, header) in slots_of(&store) {
        let (mut after, mut records) = (None, 0);
        loop {
            let page = store.page(&GroupName::new("test").unwrap(), slot, after, 1_000).unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.kind, last.id));
            records += page.len() as u64;
        }
        assert_eq!(records, header.records, "slot {slot}, sequence {}", header.sequence);
    }
    store.close();
}

/// The leader dies while it sends a snapshot; the next leader's log reaches back, so the follower
/// catches up from the log.
#[tokio::test]
async fn a_snapshot_that_broke_off_leaves_checkpoints_that_are_whole() {
    let mut cluster = Cluster::start(3, Opening::default()).await;
    let leader = cluster.leader().await;
    let follower = cluster.followers(leader)[0];

    let put_all = async |cluster: &Cluster, rounds: &[&str]| {
        for name in rounds.iter().flat_map(|round| (0..20).map(move |n| format!("{round}-{n}"))) {
            cluster.submit(put(&name, 1)).await.outcome.unwrap();
        }
    };

    for round in ["a", "b", "c"] {
        put_all(&cluster, &[round]).await;
        cluster.digests_are_equal().await;
        cluster.group(follower).checkpoint().await.unwrap();
    }

    cluster.hub.starve(follower);
    for round in ["d", "e", "f"] {
        put_all(&cluster, &[round]).await;
        cluster.group(leader).checkpoint().await.unwrap();
    }

    eventually("purged", || cluster.group(leader).status().purged).await;
    eventually("it begins to come", || (cluster.hub.bulk_frames() >= 2).then_some(())).await;
    cluster.kill(leader);
    cluster.hub.heal();
    cluster.leader().await;
    cluster.submit(Command::Tick).await.outcome.unwrap();

    cluster.digests_are_equal().await;
    put_all(&cluster, &["g"]).await;
    cluster.digests_are_equal().await;
    cluster.group(follower).checkpoint().await.unwrap();
    let dir = cluster.dir(follower);
    cluster.kill(follower);

    tokio::task::spawn_blocking(move || assert_whole(&dir)).await.unwrap();
    cluster.open(follower).await;
    cluster.digests_are_equal().await;
}

#[tokio::test]
async fn a_damaged_newest_slot_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    for round in 0..3 {
        work(&group, round).await;
        group.checkpoint().await.unwrap();
    }
    work(&group, 3).await;
    let digest = group.digest().await.1;
    drop(group);
    let found = tokio::task::spawn_blocking({
        let dir = dir.path().to_path_buf();
        move || {
            let found = slots(&dir);
            damage(&dir, found[0].0);
            found
        }
    })
    .await
    .unwrap();
    assert_eq!(found.iter().map(|(_, header)| header.sequence).collect::<Vec<_>>(), [3, 2]);

    let group = reopened_is_equal(dir.path(), digest).await;
    assert_eq!(group.status().checkpoint.unwrap().sequence, 2);
    // The damaged slot is written anew, and is whole again.
    work(&group, 4).await;
    group.checkpoint().await.unwrap();
    let digest = group.digest().await.1;
    drop(group);
    let group = reopened_is_equal(dir.path(), digest).await;
    assert_eq!(group.status().checkpoint.unwrap().sequence, 3);
}

#[tokio::test]
async fn without_a_whole_slot_the_state_is_rebuilt_from_a_log_that_reaches_back() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    work(&group, 0).await;
    group.checkpoint().await.unwrap();
    work(&group, 1).await;
    let digest = group.digest().await.1;

    drop(group);
    tokio::task::spawn_blocking({
        let dir = dir.path().to_path_buf();
        move || damage(&dir, slots(&dir)[0].0)
    })
    .await
    .unwrap();

    let group = reopened_is_equal(dir.path(), digest).await;
    assert_eq!(group.status().checkpoint, None);
    work(&group, 2).await;
    group.checkpoint().await.unwrap();
    work(&group, 3).await;
    group.checkpoint().await.unwrap();

    let digest = group.digest().await.1;
    drop(group);
    reopened_is_equal(dir.path(), digest).await;
}

/// Of three nodes, one has lost its checkpoints. Its log is whole, so it votes on, and the others
/// give it the state.
#[tokio::test]
async fn without_a_whole_slot_the_state_comes_from_another_node() {
    let mut cluster = Cluster::start(3, Opening::default()).await;
    for round in 0..3 {
        for n in 0..30 {
            cluster.submit(put(&format!("r{round}-{n}"), 2)).await.outcome.unwrap();
            cluster
                .submit(acquire(&format!("r{round}-{n}"), &format!("{round}-{n}")))
                .await
                .outcome
                .unwrap();
        }
        cluster.digests_are_equal().await;
        for node in cluster.nodes() {
            cluster.group(node).checkpoint().await.unwrap();
        }
    }
    let leader = cluster.leader().await;
    let (victim, other) = (cluster.followers(leader)[0], cluster.followers(leader)[1]);
    eventually("purged", || cluster.group(victim).status().purged).await;
    cluster.submit(put("late", 1)).await.outcome.unwrap();
    let digest = cluster.digests_are_equal().await;
    let term = cluster.group(leader).status().term;
    let dir = cluster.dir(victim);
    cluster.kill(victim);
    tokio::task::spawn_blocking(move || {
        slots(&dir).iter().for_each(|(slot, _)| damage(&dir, *slot))
    })
    .await
    .unwrap();
    cluster.open(victim).await;
    assert_eq!(cluster.digests_are_equal().await, digest);
    assert_eq!(cluster.group(victim).status().term, term);

    // Its log and its vote are those that it had: with it there is a majority.
    cluster.kill(other);
    cluster.submit(put("later", 1)).await.outcome.unwrap();
    let digest = cluster.digests_are_equal().await;
    cluster.kill(victim);
    cluster.open(victim).await;
    assert_eq!(cluster.digests_are_equal().await, digest, "after another start");
}

/// Of three nodes, one led, wrote what nobody else has, and lost its checkpoints. Its successors
/// went on without it.
#[tokio::test]
async fn a_fetched_state_wins_over_a_tail_of_the_log_that_nobody_has() {
    let mut cluster = Cluster::start(3, Opening::default()).await;
    for round in 0..3 {
        for n in 0..30 {
            cluster.submit(put(&format!("r{round}-{n}"), 2)).await.outcome.unwrap();
        }
        cluster.digests_are_equal().await;
        for node in cluster.nodes() {
            cluster.group(node).checkpoint().await.unwrap();
        }
    }

    let victim = cluster.leader().await;
    eventually("purged", || cluster.group(victim).status().purged).await;
    let dir = cluster.dir(victim);
    cluster.kill(victim);
    let damaged = dir.clone();

    tokio::task::spawn_blocking(move || {
        slots(&damaged).iter().for_each(|(slot, _)| damage(&damaged, *slot));
        let (log, state) = LogStore::open(damaged.join("log"), LogOptions::default()).unwrap();
        let last = state.last.unwrap();
        let tail = (1..=100).map(|n| LogId { index: last.index + n, ..last });
        let payload = log.read(last.index..).unwrap().remove(0).payload;
        let tail = tail.map(|id| Entry { id, payload: payload.clone() }).collect();
        let (written, done) = std::sync::mpsc::channel();
        log.append(tail, Box::new(move |result| written.send(result).unwrap())).unwrap();
        done.recv().unwrap().unwrap();
        log.close().unwrap();
    })
    .await
    .unwrap();

    cluster.submit(put("meanwhile", 1)).await.outcome.unwrap();
    for node in cluster.nodes().into_iter().filter(|node| *node != victim) {
        cluster.group(node).checkpoint().await.unwrap();
        cluster.group(node).checkpoint().await.unwrap();
    }

    for _ in 0..2 {
        cluster.open(victim).await;
        cluster.submit(put("later", 1)).await.outcome.unwrap();
        cluster.digests_are_equal().await;
        cluster.kill(victim);
    }
}

#[tokio::test]
async fn without_a_whole_slot_a_purged_log_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    for round in 0..3 {
        work(&group, round).await;
        group.checkpoint().await.unwrap();
    }

    eventually("purged", || group.status().purged).await;
    drop(group);
    tokio::task::spawn_blocking({
        let dir = dir.path().to_path_buf();
        move || slots(&dir).iter().for_each(|(slot, _)| damage(&dir, *slot))
    })
    .await
    .unwrap();

    let error = try_open(dir.path(), &Opening::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("replace-node"), "{error}");
}

#[tokio::test]
async fn a_log_that_does_not_reach_its_checkpoint_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    work(&group, 0).await;
    group.shutdown().await.unwrap();
    drop(group);
    let log = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());

    let log = log
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("log")));
    std::fs::remove_dir_all(log.unwrap()).unwrap();

    for _ in 0..2 {
        let refused = try_open(dir.path(), &Opening::default()).await;
        assert!(
            matches!(&refused, Err(OpenError::Damaged { detail, .. }) if detail.contains("cut or removed")),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn checkpoints_are_made_by_log_growth_and_by_time() {
    let grown = CheckpointPolicy { log_bytes: 2_000, interval: Duration::from_secs(3600) };
    let aged = CheckpointPolicy { log_bytes: u64::MAX, interval: Duration::from_millis(50) };
    for checkpoint in [grown, aged] {
        let dir = tempfile::tempdir().unwrap();
        let group =
            open_alone_with(dir.path(), &Opening { checkpoint, ..Opening::default() }).await;
        for round in 0..20 {
            work(&group, round).await;
        }
        eventually("two checkpoints", || {
            group.status().checkpoint.filter(|made| made.sequence >= 2)
        })
        .await;
        let digest = group.digest().await.1;
        drop(group);
        reopened_is_equal(dir.path(), digest).await;
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_while_checkpoints_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    for round in 0..8 {
        let (made, _) = tokio::join!(group.checkpoint(), async {
            for n in 0..10 {
                work(&group, round * 100 + n).await;
            }
        });
        made.unwrap();
    }
    let digest = group.digest().await.1;
    drop(group);
    reopened_is_equal(dir.path(), digest).await;
}
