//! Three copies of a group over a network that can be cut: failover, catching up, and nothing
//! acknowledged is lost.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::{Duration, Instant};

use common::hub::Cluster;
use common::*;
use ratequeue_limiter::{LeaseId, LogTime, Reply};
use ratequeue_raft::caps::ADDRESS_BYTES_MAX;
use ratequeue_raft::{Address, ChangeError, NodeRole, SubmitError, VoterChange, Woken};

async fn three() -> Cluster {
    Cluster::start(3, Opening::default()).await
}

async fn acquire_anywhere(cluster: &Cluster, id: &str) -> LeaseId {
    match cluster.submit(acquire("api", id)).await.outcome {
        Ok(Reply::Acquired(view)) => view.id,
        other => panic!("not acquired: {other:?}"),
    }
}

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
async fn a_dead_leader_is_replaced_and_no_lease_is_lost() {
    let mut cluster = three().await;
    cluster.submit(put("api", 3)).await.outcome.unwrap();
    let mut leases = Vec::new();

    for round in 0..3 {
        for n in 0..4 {
            leases.push(acquire_anywhere(&cluster, &format!("{round}-{n}")).await);
        }
        let leader = cluster.leader().await;
        let before = cluster.group(leader).digest().await.1;
        let killed = Instant::now();
        cluster.kill(leader);
        cluster.leader().await;
        acquire_anywhere(&cluster, &format!("{round}-0")).await;
        println!("decides again {:?} after the leader's death", killed.elapsed());
        for node in cluster.nodes() {
            cluster.group(node).read(|state, now| {
                for id in &leases {
                    assert!(state.lease(*id, now).is_some(), "lease {id} is lost on node {node}");
                }
            });
        }
        cluster.open(leader).await;
        let after = cluster.digests_are_equal().await;
        // Log time has moved on, so only the number of leases can be compared with before.
        assert!(before != 0 && after != 0);
    }

    let new_leader = cluster.leader().await;
    let counts =
        cluster.group(new_leader).read(|state, now| state.usage(&name("api"), now).unwrap());
    assert_eq!((counts.held, counts.queue_depth), (3, 9));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_answers_in_time_and_its_calls_wait_on() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let held = acquire_anywhere(&cluster, "a").await;
    let old = cluster.leader().await;
    let group = cluster.group(old);
    let waiting = acquired(group, acquire("api", "b")).await;
    let mut attachment = group.attach(waiting.id, 0);

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
    assert_eq!(soon("its turn", attachment.ended_waiting()).await, Woken::NoLongerWaiting);
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

#[tokio::test]
async fn a_call_at_a_follower_wakes_when_the_entry_reaches_it() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let held = acquire_anywhere(&cluster, "a").await;
    let waiting = acquire_anywhere(&cluster, "b").await;
    cluster.digests_are_equal().await;
    let leader = cluster.leader().await;
    let follower = cluster.group(cluster.followers(leader)[0]);
    let mut attachment = follower.attach(waiting, 0);
    cluster.submit(release(held)).await.outcome.unwrap();
    assert_eq!(soon("woken", attachment.ended_waiting()).await, Woken::NoLongerWaiting);
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
async fn log_time_runs_on_across_failovers_and_never_ahead_of_real_time() {
    let begun = Instant::now();
    let mut cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let mut last = LogTime(0);

    for round in 0..3 {
        let leader = cluster.leader().await;
        for n in 0..30 {
            cluster.submit(put("api", n + 2 + round * 50)).await.outcome.unwrap();
            let (applied, estimate) = cluster.group(leader).read(|state, now| (state.now(), now));
            let real = u64::try_from(begun.elapsed().as_micros()).unwrap();
            assert!(applied >= last && estimate.0 <= real);
            last = applied;
        }
        cluster.kill(leader);
        cluster.leader().await;
        cluster.open(leader).await;
    }

    // Each failover may cost a delay of replication, never the time without a leader.
    let now = cluster.group(cluster.leader().await).read(|_, now| now);
    let real = u64::try_from(begun.elapsed().as_micros()).unwrap();
    assert!(now.0 <= real && now.0 > real - 500_000, "{now} of {real}us");
}

/// Of any two entries, the later one's log time is ahead by no more than the real time between
/// them, whoever stamped them.
#[tokio::test]
async fn between_any_two_entries_no_more_log_time_passes_than_real_time() {
    let mut cluster = three().await;
    let begun = Instant::now();
    let us = || u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut entries = Vec::new();

    for round in 0..4_u64 {
        // Followers that hear late have late clocks.
        cluster.hub.set_delay(Duration::from_millis(round * 4));
        let leader = cluster.leader().await;
        for n in 0..20 {
            let before = us();
            let submitted =
                cluster.group(leader).submit_local(put("api", 1 + n + round * 50)).await;
            if submitted.is_ok() {
                let now = cluster.group(leader).read(|state, _| state.now());
                entries.push((before, now.0, us()));
            }
        }
        cluster.kill(leader);
        cluster.leader().await;
        cluster.open(leader).await;
    }

    assert!(entries.len() > 50);
    for (n, (before, earlier, _)) in entries.iter().enumerate() {
        for (_, later, after) in &entries[n..] {
            assert!(later >= earlier, "log time went back");
            assert!(
                later - earlier <= after - before,
                "{} us of log time in {} us",
                later - earlier,
                after - before
            );
        }
    }
}

#[tokio::test]
async fn leases_expire_after_a_failover_without_any_call() {
    let mut cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    cluster.submit(acquire_for("api", "a", 0, 1_500)).await.outcome.unwrap();
    let waiting = acquire_anywhere(&cluster, "b").await;
    cluster.kill(cluster.leader().await);
    let leader = cluster.leader().await;
    let mut attachment = cluster.group(leader).attach(waiting, 0);
    assert_eq!(soon("granted", attachment.ended_waiting()).await, Woken::NoLongerWaiting);
    assert!(is_held(&lease(cluster.group(leader), waiting).unwrap()));
}

#[tokio::test]
async fn leadership_is_handed_over_without_losing_a_call() {
    let cluster = three().await;
    cluster.submit(put("api", 1_000)).await.outcome.unwrap();
    let old = cluster.leader().await;
    let to = cluster.followers(old)[0];
    let handed = Instant::now();
    assert_eq!(cluster.group(old).hand_over(Some(to)).await.unwrap(), to);
    acquired(cluster.group(to), acquire("api", "a")).await;
    println!("handed over in {:?}", handed.elapsed());
    cluster.digests_are_equal().await;
}

#[tokio::test]
async fn leadership_without_a_choice_goes_to_one_that_answers() {
    let mut cluster = three().await;
    let leader = cluster.leader().await;
    let others = cluster.followers(leader);
    // All have the whole log, so that nothing but the silence tells them apart.
    cluster.digests_are_equal().await;
    cluster.kill(others[1]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let lost = cluster.group(leader).hand_over(Some(others[1])).await;
    assert!(
        matches!(&lost, Err(ChangeError::Refused(why)) if why.contains("does not answer")),
        "{lost:?}"
    );
    assert_eq!(cluster.group(leader).hand_over(None).await, Ok(others[0]));
}

#[tokio::test]
async fn a_change_of_voters_goes_on_when_its_caller_leaves() {
    let mut cluster = three().await;
    let leader = cluster.leader().await;
    cluster.add(4).await;
    let group = cluster.group(leader).clone();
    group.add_learners([(4, Address::from("node-4"))].into()).await.unwrap();
    cluster.digests_are_equal().await;

    let before = group.status().last_log_index.unwrap();
    let (sender, left) = tokio::sync::oneshot::channel::<()>();
    let there = group.clone();

    tokio::spawn(async move {
        let change = there.change_voters(VoterChange { add: [4].into(), ..VoterChange::default() });
        // The first step is in the log when the caller leaves, and not yet committed.
        let first = async {
            while there.status().last_log_index.unwrap() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { _ = change => {}, () = first => {} }
        drop(sender);
    });

    assert!(left.await.is_err());
    eventually("both steps are in the log", || {
        (group.status().last_log_index.unwrap() == before + 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn voters_are_not_taken_away_so_that_fewer_may_be_lost_or_no_majority_is_left() {
    let mut cluster = three().await;
    let leader = cluster.leader().await;
    let others = cluster.followers(leader);
    let group = cluster.group(leader).clone();
    let without = |node| VoterChange { remove: [node].into(), ..VoterChange::default() };
    let refused = group.change_voters(without(others[0])).await;
    assert!(
        matches!(refused, Err(ChangeError::FewerLosses { before: 1, after: 0, .. })),
        "{refused:?}"
    );

    cluster.kill(others[1]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let shrink = |node| VoterChange { shrink: true, ..without(node) };
    let refused = group.change_voters(shrink(others[0])).await;
    assert!(
        matches!(refused, Err(ChangeError::NoMajority { answering: 1, voters: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(group.status().voters.len(), 3);
    group.change_voters(shrink(others[1])).await.unwrap();
    cluster.submit(put("api", 1)).await.outcome.unwrap();
}

#[tokio::test]
async fn more_members_than_a_group_may_have_are_refused_and_the_group_lives() {
    let cluster = three().await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    let many = (10..100).map(|node| (node, Address(format!("node-{node}")))).collect();
    assert!(
        matches!(group.add_learners(many).await, Err(ChangeError::Refused(why)) if why.contains("64 members"))
    );
    let long = [(4, Address("a".repeat(ADDRESS_BYTES_MAX + 1)))].into();
    assert!(
        matches!(group.add_learners(long).await, Err(ChangeError::Refused(why)) if why.contains("640 bytes"))
    );
    cluster.submit(put("api", 1)).await.outcome.unwrap();
}

#[tokio::test]
async fn a_fourth_node_joins_by_snapshot_votes_and_leads() {
    let mut cluster = three().await;
    cluster.submit(put("api", 5)).await.outcome.unwrap();
    let leader = cluster.leader().await;

    for round in 0..3 {
        for n in 0..20 {
            acquire_anywhere(&cluster, &format!("{round}-{n}")).await;
        }
        cluster.group(leader).checkpoint().await.unwrap();
    }

    eventually("purged", || cluster.group(leader).status().purged).await;
    cluster.add(4).await;
    assert!(!cluster.group(4).is_formed().await);
    cluster.group(leader).add_learners([(4, Address::from("node-4"))].into()).await.unwrap();
    cluster.digests_are_equal().await;
    assert_eq!(cluster.group(4).status().role, NodeRole::Learner);

    assert!(cluster.hub.bulk_frames() > 0);
    cluster
        .group(leader)
        .change_voters(VoterChange { add: [4].into(), ..VoterChange::default() })
        .await
        .unwrap();

    assert_eq!(soon("handed over", cluster.group(leader).hand_over(Some(4))).await, Ok(4));
    acquired(cluster.group(4), acquire("api", "after")).await;
    cluster.digests_are_equal().await;
    assert_eq!(cluster.group(1).status().voters.len(), 4);
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
