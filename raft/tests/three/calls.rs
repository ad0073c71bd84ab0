//! Commands and calls at the leader and at followers: each is answered once.

use std::time::{Duration, Instant};

use ratequeue_limiter::Reply;
use ratequeue_raft::{NodeRole, SubmitError, Woken};

use crate::common::*;
use crate::{acquire_anywhere, three};

#[tokio::test]
async fn commands_reach_all_nodes_and_only_the_leader_takes_them() {
    let cluster = three().await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    group.submit_local(put("api", 2)).await.unwrap().outcome.unwrap();
    for n in 0..20 {
        acquired(group, acquire("api", &format!("r{n}"))).await;
    }

    group.read_barrier_local().await.unwrap();
    cluster.digests_are_equal().await;
    for node in cluster.followers(leader) {
        let follower = cluster.group(node);
        let not_leader = SubmitError::NotLeader { leader: Some(leader) };
        assert_eq!(follower.submit_local(acquire("api", "x")).await, Err(not_leader));
        assert_eq!(follower.read_barrier_local().await, Err(not_leader));
        assert_eq!(follower.status().role, NodeRole::Follower);
    }

    let status = group.status();
    assert_eq!(status.voters.len(), 3);
    let lag = || group.status().progress.values().map(|progress| progress.lag).max();
    eventually("no lag", || (lag() == Some(0)).then_some(())).await;
}

#[tokio::test]
async fn a_call_at_a_follower_wakes_when_the_entry_reaches_it() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let held = acquire_anywhere(&cluster, "a").await;
    let waiting = acquire_anywhere(&cluster, "b").await;
    cluster.digests_are_equal().await;
    let leader = cluster.leader().await;
    let follower = cluster.group(cluster.followers(leader)[0]);
    let woken = asleep(follower.attach(waiting, 0));
    cluster.submit(release(held)).await.outcome.unwrap();
    assert_eq!(soon("woken", woken).await, Woken::NoLongerWaiting);
    assert!(is_held(&lease(follower, waiting).unwrap()));
}

#[tokio::test]
async fn a_call_at_a_node_that_lags_keeps_its_place_and_wakes_once_it_has_caught_up() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let held = acquire_anywhere(&cluster, "a").await;
    cluster.digests_are_equal().await;
    let leader = cluster.leader().await;
    let node = cluster.followers(leader)[0];

    let follower = cluster.group(node);
    cluster.hub.starve(node);
    let applied = follower.submit(acquire("api", "b")).await.unwrap();
    let Ok(Reply::Acquired(waiting)) = applied.outcome else { panic!("{applied:?}") };
    let mut attachment = follower.attach(waiting.id, applied.index);

    // Longer than a node takes to say that it lags.
    let early = tokio::time::timeout(Duration::from_secs(3), attachment.ended_waiting()).await;
    assert!(early.is_err(), "it waits still: {early:?}");
    assert!(lease(follower, waiting.id).is_none(), "the follower lags");
    cluster.hub.heal();
    cluster.submit(release(held)).await.outcome.unwrap();

    assert_eq!(soon("woken", attachment.ended_waiting()).await, Woken::NoLongerWaiting);
    assert!(is_held(&lease(follower, waiting.id).unwrap()));
}

#[tokio::test]
async fn every_call_is_answered_once_however_many_there_are() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    cluster.hub.isolate(leader, cluster.followers(leader));
    let begun = Instant::now();

    let calls = (0..25_000).map(|n| group.submit_local(acquire("api", &format!("r{n}"))));
    let answers = soon("answers", futures::future::join_all(calls)).await;
    let count = |error: SubmitError| answers.iter().filter(|answer| **answer == Err(error)).count();

    let (unknown, none, full) = (
        count(SubmitError::UnknownOutcome),
        count(SubmitError::NoQuorum),
        count(SubmitError::Overloaded),
    );

    assert_eq!(unknown + none + full, answers.len());
    // Two entries in flight, a full queue, and no room for the rest.
    assert!(unknown > 0 && none > 10_000 && full > 1_000, "{unknown} {none} {full}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}
