//! Leadership that is handed over, and changes of the members.

use std::time::{Duration, Instant};

use ratequeue_raft::caps::ADDRESS_BYTES_MAX;
use ratequeue_raft::{Address, ChangeError, NodeRole, VoterChange};

use crate::common::*;
use crate::{acquire_anywhere, three};

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
