//! Checkpoints that are made, by work, by growth and by time; the log is purged up to them.

use std::path::Path;
use std::time::Duration;

use ratequeue_limiter::Command;
use ratequeue_raft::CheckpointPolicy;
use ratequeue_storage::GroupName;

use crate::common::hub::Cluster;
use crate::common::*;
use crate::{reopened_is_equal, slots_of, work};

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
