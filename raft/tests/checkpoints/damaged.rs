//! Checkpoints and logs that are damaged or gone: the state comes from what is left, or nothing
//! opens.

use std::path::Path;

use ratequeue_raft::OpenError;
use ratequeue_storage::{Entry, GroupName, LogId, LogOptions, LogStore, Slot};

use crate::common::hub::Cluster;
use crate::common::*;
use crate::{reopened_is_equal, slots, work};

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

/// Of three nodes, the file of one's checkpoints is damaged, at many places and in three ways. It
/// comes back each time with the state that all have, and can make checkpoints again.
#[tokio::test]
async fn whatever_is_damaged_in_the_checkpoints_the_node_comes_back() {
    const PLACES: usize = 5;
    let mut cluster = Cluster::start(3, Opening::default()).await;
    // More than sled has in one segment, of half a MiB: what is cut off then is missed only when it
    // is read.
    for n in 0..4_000 {
        cluster.submit(put(&format!("first-{n}-{}", "x".repeat(90)), 2)).await.outcome.unwrap();
    }
    let victim = cluster.followers(cluster.leader().await)[0];

    for (place, way) in (0..PLACES).flat_map(|place| (0..3).map(move |way| (place, way))) {
        for round in 0..2 {
            for n in 0..5 {
                let name = format!("p{place}-{way}-{round}-{n}");
                cluster.submit(put(&name, 2)).await.outcome.unwrap();
            }
            cluster.digests_are_equal().await;
            for node in cluster.nodes() {
                cluster.group(node).checkpoint().await.unwrap();
            }
        }
        eventually("purged", || cluster.group(victim).status().purged).await;

        let file = cluster.dir(victim).join("state/db");
        cluster.kill(victim);
        tokio::task::spawn_blocking(move || damage_file(&file, place, PLACES, way)).await.unwrap();
        cluster.open(victim).await;
        cluster.digests_are_equal().await;
        cluster.submit(put(&format!("after-{place}-{way}"), 1)).await.outcome.unwrap();
        cluster.digests_are_equal().await;
        cluster.group(victim).checkpoint().await.unwrap();
    }
}

/// Of three nodes, the log of one was put back to what it was earlier, which nothing in it shows. Its
/// leader has seen more of it, and must not die of that: it sends again what is missing.
#[tokio::test]
async fn a_log_that_was_put_back_is_filled_up_by_the_same_leader() {
    let mut cluster = Cluster::start(3, Opening::default()).await;
    cluster.submit(put("early", 1)).await.outcome.unwrap();
    cluster.digests_are_equal().await;
    let leader = cluster.leader().await;
    let victim = cluster.followers(leader)[0];
    let (log, earlier) = (cluster.dir(victim).join("log"), cluster.dir(victim).join("earlier"));

    cluster.kill(victim);
    copy(&log, &earlier);
    cluster.open(victim).await;
    for n in 0..30 {
        cluster.submit(put(&format!("late-{n}"), 1)).await.outcome.unwrap();
    }
    cluster.digests_are_equal().await;
    let term = cluster.group(leader).status().term;

    cluster.kill(victim);
    std::fs::remove_dir_all(&log).unwrap();
    copy(&earlier, &log);
    cluster.open(victim).await;
    cluster.digests_are_equal().await;
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.group(leader).status().term, term);
}

/// Cuts a file, zeroes a block of it, or flips a bit, at one of `places` places.
fn damage_file(file: &Path, place: usize, places: usize, way: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let at = written * (place + 1) / (places + 1) + place * 977 % 512;
    match way {
        0 => bytes.truncate(at),
        1 => bytes[at..].iter_mut().take(4096).for_each(|byte| *byte = 0),
        _ => bytes[at] ^= 1 << (place % 8),
    }
    std::fs::write(file, bytes).unwrap();
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
