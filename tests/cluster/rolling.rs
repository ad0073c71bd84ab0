//! Every node is stopped and started again while the cluster works: no call fails, and leadership
//! is handed over first.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::{Cluster, done};
use crate::load::{Limits, Load, median};
use crate::turn::Turn;

const LIMITS: Limits = Limits { slots: 10, rate: 50, window: Duration::from_millis(50) };
const CALLERS: usize = 32;

/// What the design wants is 200 ms; the rest is for machines that do other things too.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Stops a node, and starts it again once it has ended. When it began, and when the node had caught
/// up.
async fn restart(cluster: &mut Cluster, id: u64) -> (Instant, Instant) {
    let leader = cluster.leader().await;
    let before = cluster.node(id).log().len();
    let at = Instant::now();
    cluster.node_mut(id).stop().await;
    let log = cluster.node(id).log();
    let said = &log[before..];

    if leader == id {
        assert!(
            said.contains("leading=false"),
            "it has seen its successor before it ended: {said}"
        );
        assert_ne!(cluster.leader().await, id);
    }

    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    cluster.node_mut(id).start().await;
    cluster.node(id).ready().await;
    cluster.caught_up(id).await;
    (at, Instant::now())
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let _turn = Turn::alone();
    let mut cluster = Cluster::formed(3).await;
    cluster.at(1).create("work", LIMITS.json()).await;
    let load = Load::start(&cluster.urls([1, 2, 3]), "work", CALLERS);
    load.goes_on(100).await;
    let mut times = Vec::new();

    // First as it comes, then each as the leader.
    for (id, leads) in [(1, false), (2, false), (3, false), (1, true), (2, true), (3, true)] {
        if leads {
            done(&cluster.cli(&["transfer-leader", "--to", &id.to_string()]).await);
        }
        times.push(restart(&mut cluster, id).await);
        load.goes_on(50).await;
    }

    let story = load.stop().await;
    let gaps: Vec<_> = times.iter().map(|(from, to)| story.longest_gap(*from, *to)).collect();
    println!(
        "rolling: {} grants, gaps {gaps:.0?}, median {:.0?}",
        story.grants.len(),
        median(&gaps)
    );

    story.nothing_failed();
    story.kept(LIMITS);
    assert!(gaps.iter().all(|gap| *gap <= GAP_MAX), "a gap is over {GAP_MAX:?}: {gaps:?}");
    cluster.agree(&[1, 2, 3]).await;
}

#[tokio::test]
async fn a_node_that_is_interrupted_ends_as_well() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    let leader = cluster.leader().await;
    cluster.node(leader).signal(Signal::INT);
    assert_eq!(cluster.node_mut(leader).ended().await.code(), Some(0));
    assert_ne!(cluster.leader().await, leader);
}
