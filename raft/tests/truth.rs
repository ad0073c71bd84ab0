//! What a node says is true at that moment, wherever it is asked: reads, what is held, and for how
//! long.
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
use ratequeue_limiter::{
    Attend, Call, Command, Detach, LeaseId, LeaseState, LeaseView, Outcome, Phase, Reply,
};
use ratequeue_raft::{Group, SubmitError};

async fn three() -> Cluster {
    let cluster = Cluster::start(3, Opening::default()).await;
    for node in cluster.nodes() {
        eventually("the feature level", || (cluster.group(node).level() == 2).then_some(())).await;
    }
    cluster
}

fn told(view: &LeaseView) -> u64 {
    match &view.phase {
        Phase::Held(grant) => grant.expires_in_ms,
        other @ (Phase::Waiting(_) | Phase::Ended(_)) => panic!("not held: {other:?}"),
    }
}

fn view(outcome: Outcome) -> LeaseView {
    match outcome {
        Ok(Reply::Acquired(view) | Reply::Extended(view) | Reply::Attended(view)) => view,
        other => panic!("no lease: {other:?}"),
    }
}

/// What is left at this moment, as the leader counts.
fn left(group: &Group, id: LeaseId) -> u64 {
    told(&lease(group, id).unwrap())
}

/// A leader reads under its lease while a voter that has acknowledged it was restarted: it has not
/// voted for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_read_after_a_voter_was_restarted_is_not_stale() {
    let (mut stale, mut written_in, mut reads) = (0, 0, 0);
    for attempt in 0..15u64 {
        let mut cluster = Cluster::start(3, Opening::default()).await;
        cluster.submit(put("api", 5)).await.outcome.unwrap();
        let a = cluster.leader().await;
        cluster.digests_are_equal().await;
        let (b, c) = (cluster.followers(a)[0], cluster.followers(a)[1]);
        cluster.hub.isolate(a, [c]);
        tokio::time::sleep(Duration::from_millis(500 + attempt * 13)).await;
        if !cluster.group(a).is_leader() {
            continue;
        }
        // It is cut off from the other one too, which is restarted at that moment.
        cluster.kill(b);
        let begun = Instant::now();
        cluster.hub.isolate(a, [b, c]);
        cluster.open(b).await;
        let mut written = false;
        while begun.elapsed() < Duration::from_millis(900) && !written {
            for node in [c, b] {
                let group = cluster.group(node);
                written |= group.is_leader() && group.submit_local(put("new", 1)).await.is_ok();
            }
            if written || begun.elapsed() < Duration::from_millis(250) {
                let read = cluster.group(a).read_barrier_local().await;
                let sees = cluster.group(a).read(|state, _| state.has_resource(&name("new")));
                reads += u32::from(read.is_ok());
                stale += u32::from(written && read.is_ok() && !sees);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        written_in += u32::from(written);
    }

    println!("{written_in} wrote, {reads} reads were answered, {stale} of them stale");
    assert!(
        written_in >= 5 && reads >= 5,
        "too little happened: {written_in} wrote, {reads} reads"
    );
    assert_eq!(stale, 0, "stale linearizable reads");
}

/// One that comes back does not let a node that is cut off from the leader take its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_voter_does_not_depose_a_healthy_leader() {
    let mut cluster = Cluster::start(3, Opening::default()).await;
    let a = cluster.leader().await;
    cluster.digests_are_equal().await;
    let (b, c) = (cluster.followers(a)[0], cluster.followers(a)[1]);
    let term = cluster.group(a).status().term;
    cluster.hub.isolate(c, [a]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    for _ in 0..3 {
        cluster.kill(b);
        cluster.open(b).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!((cluster.group(a).is_leader(), cluster.group(a).status().term), (true, term));
    }
}

#[tokio::test]
async fn the_time_left_is_not_more_than_what_is_left() {
    let cluster = three().await;
    cluster.submit(put("api", 20)).await.outcome.unwrap();
    cluster.hub.set_delay(Duration::from_millis(12));

    for n in 0..4 {
        let leader = cluster.leader().await;
        for node in cluster.nodes() {
            // The leader's own commit takes a while, and the way from another node as long again.
            let group = cluster.group(node);
            let held = view(
                group
                    .submit(acquire_for("api", &format!("{n}-{node}"), 0, 2_000))
                    .await
                    .unwrap()
                    .outcome,
            );
            let answered = Instant::now();
            let (told, left_then) = (told(&held), left(cluster.group(leader), held.id));
            // What is left is looked at a moment later.
            let left_then = left_then + u64::try_from(answered.elapsed().as_millis()).unwrap() + 1;
            assert!(told <= left_then, "node {node}: told {told} ms, and {left_then} ms were left");
            assert!(told > 1_800, "node {node}: told {told} ms only");
        }
    }
}

/// Its call waits at a follower that gets no entries. When they come at last, the lease has been
/// granted and has expired, and another holds the slot.
#[tokio::test]
async fn a_lagging_follower_says_of_no_lease_that_it_is_held_when_it_is_not() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let (l, f) = (cluster.group(leader), cluster.group(cluster.followers(leader)[0]));
    let a = acquired(l, acquire_for("api", "a", 0, 30_000)).await;
    let b = acquired(l, acquire_for("api", "b", 60_000, 1_500)).await;
    cluster.digests_are_equal().await;
    let woken = asleep(f.attach(b.id, 0));
    cluster.hub.starve(f.node());
    l.submit_local(release(a.id)).await.unwrap().outcome.unwrap();
    eventually("it expires", || (lease(l, b.id)?.state() == LeaseState::Expired).then_some(()))
        .await;
    let c = acquired(l, acquire_for("api", "c", 0, 60_000)).await;
    assert!(is_held(&c));

    // The entries come in one after the other, and so slowly that this test sees each of them.
    cluster.hub.set_delay(Duration::from_millis(20));
    cluster.hub.feed(f.node());
    soon("woken", woken).await;
    let looked = f.look(b.id).await.unwrap();
    assert_eq!(looked.view.unwrap().state(), LeaseState::Expired);
    assert!(is_held(&f.look(c.id).await.unwrap().view.unwrap()));
}

#[tokio::test]
async fn without_a_leader_no_lease_is_said_to_be_held() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let a = acquired(cluster.group(leader), acquire("api", "a")).await;
    cluster.digests_are_equal().await;
    for node in cluster.nodes() {
        cluster.hub.isolate(node, cluster.followers(node));
    }

    tokio::time::sleep(Duration::from_millis(700)).await;
    for node in cluster.nodes() {
        assert_eq!(
            cluster.group(node).look(a.id).await.map(|looked| looked.view),
            Err(SubmitError::NoQuorum)
        );
    }
}

/// A call that ended at one node while it was repeated at another.
#[tokio::test]
async fn a_lease_whose_caller_is_away_is_claimed_before_it_is_said_to_be_held() {
    let cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let leader = cluster.leader().await;
    let (l, f) = (cluster.group(leader), cluster.group(cluster.followers(leader)[0]));
    let a = acquired(l, acquire("api", "a")).await;
    let Command::Acquire(asked) = acquire("api", "b") else { panic!("no acquire") };
    let b = view(f.submit(Command::Call(Call { acquire: asked, call: 7 })).await.unwrap().outcome);
    let gone = Command::Detach(Detach { calls: vec![(b.id, 7)], for_good: false });
    f.submit(gone.clone()).await.unwrap().outcome.unwrap();
    l.submit_local(release(a.id)).await.unwrap().outcome.unwrap();
    let looked = f.look(b.id).await.unwrap();
    assert_eq!((looked.call, looked.claimed, is_held(&looked.view.unwrap())), (7, false, true));

    let attend = Command::Attend(Attend { lease: b.id, call: 8 });
    assert!(is_held(&view(f.submit(attend).await.unwrap().outcome)));
    let looked = f.look(b.id).await.unwrap();
    assert_eq!((looked.call, looked.claimed), (8, true));
    // What is told late does no harm.
    f.submit(gone).await.unwrap().outcome.unwrap();
    assert!(f.look(b.id).await.unwrap().claimed);
}
