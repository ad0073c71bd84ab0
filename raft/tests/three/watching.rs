//! What is told to whoever watches: the same on every node, in the order of the log.

use futures::FutureExt;
use ratequeue_raft::{EventsError, Group, Happening, NodeId, Witness};

use crate::common::*;
use crate::{acquire_anywhere, three};

/// All that a node's journal has.
fn told(group: &Group) -> Vec<(u64, Happening, Witness)> {
    let mut events = group.events(Some(0));
    let mut told = Vec::new();
    while let Some(read) = events.next(3).now_or_never() {
        told.extend(read.unwrap().iter().map(|b| (b.index, b.what.clone(), b.witness)));
    }
    told
}

fn leaders(told: &[(u64, Happening, Witness)]) -> Vec<NodeId> {
    let leader = |what: &Happening| match what {
        Happening::NewLeader { leader, .. } => Some(*leader),
        Happening::Events(_) => None,
    };
    told.iter().filter_map(|(_, what, _)| leader(what)).collect()
}

#[tokio::test]
async fn every_node_tells_the_same_also_after_a_restart() {
    let mut cluster = three().await;
    cluster.submit(put("api", 3)).await.outcome.unwrap();
    for n in 0..5 {
        acquire_anywhere(&cluster, &format!("first-{n}")).await;
    }
    let first = cluster.leader().await;
    let before = told(cluster.group(first)).len();
    cluster.kill(first);
    let second = cluster.leader().await;
    acquire_anywhere(&cluster, "second").await;
    cluster.open(first).await;
    cluster.digests_are_equal().await;

    let of = |node| told(cluster.group(node));
    let expected: Vec<_> = of(second).into_iter().map(|(at, what, _)| (at, what)).collect();
    let events = expected.iter().filter(|(_, what)| matches!(what, Happening::Events(_)));
    assert_eq!(events.count(), 7, "{expected:?}");
    for node in cluster.nodes() {
        let told: Vec<_> = of(node).into_iter().map(|(at, what, _)| (at, what)).collect();
        assert_eq!(told, expected, "node {node}");
    }
    assert!(leaders(&of(second)).ends_with(&[second]), "{:?}", leaders(&of(second)));

    // Each knows how it came to know of them.
    let replayed = of(first).iter().filter(|told| told.2 == Witness::Replay).count();
    assert!(replayed >= before, "{replayed} of {before}");
    let led = |node: NodeId| of(node).iter().filter(|told| told.2 == Witness::Leader).count();
    assert!(led(second) > 0);
    assert_eq!(led(first), 0);

    // A reader waits for what comes next, and hears of the end.
    let group = cluster.group(second);
    let mut reader = group.events(None);
    assert!(reader.next(1).now_or_never().is_none());
    cluster.submit(put("other", 1)).await.outcome.unwrap();
    assert!(soon("an event", reader.next(1)).await.is_ok());
    cluster.kill(second);
    assert_eq!(soon("the end", reader.next(1)).await, Err(EventsError::Ended));
}
