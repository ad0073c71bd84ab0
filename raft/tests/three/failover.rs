//! Leaders die or are cut off, nodes come back: nothing acknowledged is lost.

use std::time::{Duration, Instant};

use ratequeue_limiter::{LeaseId, LeaseState, Phase, Reply};
use ratequeue_raft::{Group, SubmitError, Woken};

use crate::common::hub::Cluster;
use crate::common::*;
use crate::{acquire_anywhere, three};

/// The caller is silent for 17 s, but between two leaders nobody could have heard it.
#[tokio::test]
async fn a_new_leader_gives_all_that_wait_time_to_come_back() {
    let mut cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    acquire_anywhere(&cluster, "held").await;
    let begun = Instant::now();
    let waiting = acquire_anywhere(&cluster, "waiting").await;

    tokio::time::sleep(Duration::from_secs(7)).await;
    cluster.kill(cluster.leader().await);
    let leader = cluster.leader().await;
    tokio::time::sleep(Duration::from_secs(17).saturating_sub(begun.elapsed())).await;
    let group = cluster.group(leader);
    assert!(group.read(|state, _| state.is_waiting(waiting)));

    // Not for ever.
    eventually("it is cancelled", || {
        group.read(|state, _| (!state.is_waiting(waiting)).then_some(()))
    })
    .await;
}

#[tokio::test]
async fn a_dead_leader_is_replaced_and_no_lease_is_lost() {
    let mut cluster = three().await;
    cluster.submit(put("api", 3)).await.outcome.unwrap();
    let mut leases = Vec::new();

    for round in 0..3 {
        for n in 0..4 {
            leases.push(acquire_anywhere(&cluster, &format!("{round}-{n}")).await);
        }
        let leader = cluster.leader().await;
        let before = standing(cluster.group(leader), &leases);
        let killed = Instant::now();
        cluster.kill(leader);
        cluster.leader().await;
        acquire_anywhere(&cluster, &format!("{round}-0")).await;
        println!("decides again {:?} after the leader's death", killed.elapsed());
        cluster.open(leader).await;
        cluster.digests_are_equal().await;
        for node in cluster.nodes() {
            let after = standing(cluster.group(node), &leases);
            assert_eq!(after, before, "on node {node}");
        }
    }

    let new_leader = cluster.leader().await;
    let counts =
        cluster.group(new_leader).read(|state, now| state.usage(&name("api"), now).unwrap());
    assert_eq!((counts.held, counts.queue_depth), (3, 9));
}

/// How leases stand on a node: the fencing token of one that is held, the place of one that waits.
fn standing(group: &Group, leases: &[LeaseId]) -> Vec<(LeaseState, Option<u64>)> {
    let standing = |id: &LeaseId| {
        let view = lease(group, *id).unwrap();
        let number = match &view.phase {
            Phase::Held(grant) => Some(grant.fencing_token),
            Phase::Waiting(place) => Some(place.position),
            Phase::Ended(_) => None,
        };
        (view.state(), number)
    };
    leases.iter().map(standing).collect()
}

#[tokio::test]
async fn a_leader_that_is_cut_off_answers_in_time_and_its_calls_wait_on() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let held = acquire_anywhere(&cluster, "a").await;
    let old = cluster.leader().await;
    let group = cluster.group(old);
    let waiting = acquired(group, acquire("api", "b")).await;
    let woken = asleep(group.attach(waiting.id, 0));

    cluster.hub.isolate(old, cluster.followers(old));
    let begun = Instant::now();
    let in_flight = group.submit_local(acquire("api", "c")).await;
    assert_eq!(in_flight, Err(SubmitError::UnknownOutcome));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(group.leader(), None, "nobody follows it");
    let begun = Instant::now();
    assert_eq!(group.submit_local(acquire("api", "d")).await, Err(SubmitError::NoQuorum));
    assert_eq!(group.read_barrier_local().await, Err(SubmitError::NoQuorum));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());

    let new = cluster.leader_of(cluster.followers(old)).await;
    acquired(cluster.group(new), acquire("api", "e")).await;
    cluster.hub.heal();
    assert_eq!(cluster.leader().await, new);
    cluster.digests_are_equal().await;
    cluster.submit(release(held)).await.outcome.unwrap();
    assert_eq!(soon("its turn", woken).await, Woken::NoLongerWaiting);
    // "c" never reached a majority, and is gone; "e" is left.
    let depth =
        cluster.group(old).read(|state, now| state.usage(&name("api"), now).unwrap().queue_depth);
    assert_eq!(depth, 1);
}

#[tokio::test]
async fn a_node_that_returns_does_not_depose_the_leader() {
    let cluster = three().await;
    let leader = cluster.leader().await;
    let away = cluster.followers(leader)[0];
    let term = cluster.group(leader).status().term;
    cluster.hub.isolate(away, cluster.followers(away));
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    cluster.hub.heal();
    cluster.digests_are_equal().await;
    assert_eq!((cluster.leader().await, cluster.group(leader).status().term), (leader, term));
}

#[tokio::test]
async fn all_nodes_killed_come_back_with_everything() {
    let mut cluster = three().await;
    cluster.submit(put("api", 5)).await.outcome.unwrap();
    let mut leases = Vec::new();
    for n in 0..20 {
        leases.push(acquire_anywhere(&cluster, &format!("r{n}")).await);
    }

    for node in cluster.nodes() {
        cluster.kill(node);
    }

    for node in 1..=3 {
        cluster.open(node).await;
    }

    let leader = cluster.leader().await;
    cluster.group(leader).read_barrier_local().await.unwrap();
    for (n, id) in leases.iter().enumerate() {
        assert_eq!(is_held(&lease(cluster.group(leader), *id).unwrap()), n < 5);
    }

    cluster.digests_are_equal().await;
}

/// Callers everywhere while links are cut, broken and slow, and nodes die: afterwards every
/// acknowledged lease is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_storm() {
    let checkpoint = ratequeue_raft::CheckpointPolicy {
        log_bytes: 20_000,
        interval: Duration::from_millis(300),
    };

    let mut cluster = Cluster::start(3, Opening { checkpoint, ..Opening::default() }).await;
    cluster.submit(put("api", 1_000_000)).await.outcome.unwrap();
    let mut acknowledged: Vec<LeaseId> = Vec::new();

    for round in 0..12_u64 {
        let node = round % 3 + 1;
        match round % 4 {
            0 => cluster.hub.isolate(node, cluster.followers(node)),
            1 => cluster.hub.set_broken_permille(100),
            2 => cluster.kill(node),
            _ => {
                cluster.hub.set_delay(Duration::from_millis(5));
                cluster.hub.cut(node, node % 3 + 1);
            }
        }
        let mut calls = Vec::new();
        for n in 0..60 {
            let groups: Vec<_> =
                cluster.nodes().iter().map(|node| cluster.group(*node).clone()).collect();
            let command = acquire("api", &format!("{round}-{n}"));
            calls.push(tokio::spawn(async move {
                for attempt in 0..30 {
                    // The same request: what is unknown the first time is the same lease the second
                    // time.
                    if let Ok(applied) =
                        groups[(n + attempt) % groups.len()].submit_local(command.clone()).await
                    {
                        return Some(applied.outcome);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                None
            }));
        }
        for call in calls {
            match soon("answered", call).await.unwrap() {
                Some(Ok(Reply::Acquired(view))) => acknowledged.push(view.id),
                None => {}
                other => panic!("{other:?}"),
            }
        }
        cluster.hub.heal();
        if round % 4 == 2 {
            cluster.open(node).await;
        }
        acknowledged.push(acquire_anywhere(&cluster, &format!("{round}-end")).await);
    }

    cluster.leader().await;
    cluster.digests_are_equal().await;
    assert!(acknowledged.len() > 400, "only {} calls got through", acknowledged.len());
    println!("{} acknowledged", acknowledged.len());

    for node in cluster.nodes() {
        for id in &acknowledged {
            assert!(
                is_held(&lease(cluster.group(node), *id).unwrap()),
                "lease {id} is lost on node {node}"
            );
        }
    }
}
