//! Followers that were away catch up, from the log or from a snapshot.

use crate::common::*;
use crate::{acquire_anywhere, three};

#[tokio::test]
async fn a_follower_catches_up_from_the_log() {
    let mut cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let away = cluster.followers(leader)[0];
    cluster.kill(away);
    for n in 0..200 {
        acquire_anywhere(&cluster, &format!("r{n}")).await;
    }
    cluster.open(away).await;
    cluster.digests_are_equal().await;
    assert_eq!(cluster.hub.bulk_frames(), 0);
}

#[tokio::test]
async fn a_follower_catches_up_from_a_snapshot() {
    let mut cluster = three().await;
    cluster.submit(put("api", 5)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let away = cluster.followers(leader)[0];
    acquire_anywhere(&cluster, "before").await;
    cluster.digests_are_equal().await;
    cluster.group(away).checkpoint().await.unwrap();
    cluster.kill(away);
    for round in 0..3 {
        for n in 0..50 {
            acquire_anywhere(&cluster, &format!("{round}-{n}")).await;
        }
        cluster.group(leader).checkpoint().await.unwrap();
    }
    eventually("purged", || cluster.group(leader).status().purged).await;
    cluster.open(away).await;
    cluster.digests_are_equal().await;
    assert!(cluster.hub.bulk_frames() > 0, "no snapshot was sent");
    let held = cluster.group(away).status().checkpoint.unwrap();
    assert!(held.applied >= cluster.group(leader).status().purged);

    // It lives on from what it was sent, and can lead.
    acquire_anywhere(&cluster, "after").await;
    let digest = cluster.digests_are_equal().await;
    cluster.kill(away);
    cluster.open(away).await;
    assert_eq!(cluster.digests_are_equal().await, digest);
    cluster.group(away).checkpoint().await.unwrap();
    cluster.kill(away);
    cluster.open(away).await;
    assert_eq!(cluster.digests_are_equal().await, digest);
}

#[tokio::test]
async fn an_interrupted_snapshot_leaves_the_old_state_in_use() {
    let mut cluster = three().await;
    cluster.submit(put("api", 5)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let away = cluster.followers(leader)[0];
    cluster.kill(away);

    for round in 0..3 {
        for n in 0..100 {
            acquire_anywhere(&cluster, &format!("{round}-{n}")).await;
        }
        cluster.group(leader).checkpoint().await.unwrap();
    }

    eventually("purged", || cluster.group(leader).status().purged).await;
    // Every other frame breaks its connection.
    cluster.hub.set_broken_permille(500);
    cluster.open(away).await;
    eventually("a few attempts", || (cluster.hub.bulk_frames() > 4).then_some(())).await;
    cluster.hub.heal();
    cluster.digests_are_equal().await;
}
