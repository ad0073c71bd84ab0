//! A node is cut off from the others, again and again: it decides nothing and says so quickly, the
//! others go on, and its return deposes nobody.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::json;

use crate::cluster::{Cluster, REGION};
use crate::harness::{Client, concurrency};
use crate::load::{Limits, Load};
use crate::netns::{Cut, Network};
use crate::turn::Turn;

const CUTS: usize = 20;
const CALLERS: usize = 16;
const LIMITS: Limits = Limits { slots: 10, rate: 50, window: Duration::from_millis(50) };

/// A new call at the node that is cut off, this often.
const PROBE: Duration = Duration::from_millis(100);
/// How soon after the cut a call is refused for certain: what was begun before it noticed may be
/// unknown.
const KNOWN_WITHIN: Duration = Duration::from_millis(2_000);
/// How long it takes to say so.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// Network namespaces, or why there are none: `None` when the test is to be left out.
fn network() -> Option<Network> {
    match Network::make(3) {
        Ok(network) => Some(network),
        Err(why) if std::env::var("RATEQUEUE_TEST_NO_NETNS").is_ok_and(|value| value == "1") => {
            println!("partition: left out: {why}");
            None
        }
        Err(why) => panic!(
            "network namespaces cannot be made: {why}. Run this as root with iproute2 (scripts/setup.sh test), or leave it \
             out with RATEQUEUE_TEST_NO_NETNS=1"
        ),
    }
}

/// How long a call at a node that is cut off takes to be refused, and with which code.
async fn refusal(node: &Client) -> (Duration, String) {
    let begun = Instant::now();
    let body = json!({"wait_ms": 1_000, "ttl_ms": 1_000});
    let answer = node.call(Method::POST, "/v1/resources/probe/acquire", &[], Some(body)).await;
    (begun.elapsed(), answer.is(503).str("code").to_owned())
}

/// When the node that is cut off from now on first says that nothing happened, and how long that
/// call had to wait for it.
async fn knows(node: &Client) -> (Duration, Duration) {
    let cut = Instant::now();
    let mut calls = FuturesUnordered::new();
    let mut next = tokio::time::interval(PROBE);
    loop {
        tokio::select! {
            _ = next.tick() => calls.push(refusal(node)),
            Some((took, code)) = calls.next() => match code.as_str() {
                "no-quorum" => return (cut.elapsed(), took),
                "unknown-outcome" => {}
                other => panic!("{other}"),
            }
        }
        assert!(cut.elapsed() < KNOWN_WITHIN * 4, "it does not say that nothing happened");
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_and_returns_deposes_nobody() {
    let _turn = Turn::alone();
    let Some(network) = network() else { return };
    let nodes = (1..=3).map(|id| {
        (u64::from(id), REGION.to_owned(), network.place(id), Some(network.namespace(id)))
    });
    let mut cluster = Cluster::of("test", network.place(1).http.ip(), nodes.collect());
    cluster.start().await;
    cluster.init().await;
    cluster.at(1).create("work", LIMITS.json()).await;
    cluster.at(1).create("probe", concurrency(1_000)).await;
    let load = Load::start(&cluster.urls([1, 2, 3]), "work", CALLERS);
    load.goes_on(50).await;

    let victim = cluster.leader().await;
    let mut leaders = BTreeSet::from([leader_and_term(&cluster).await]);
    let (mut known, mut took) = (Vec::new(), Vec::new());
    for nth in 0..CUTS {
        network.cut(victim, if nth % 2 == 0 { Cut::Silence } else { Cut::Link });
        let (at, refused) = knows(cluster.at(victim)).await;
        known.push(at);
        took.push(refused);
        cluster.at(victim).get("/readyz").await.problem(503, "no-quorum");
        load.goes_on(10).await;
        network.heal(victim);
        cluster.node(victim).ready().await;
        cluster.caught_up(victim).await;
        leaders.insert(leader_and_term(&cluster).await);
        load.goes_on(10).await;
    }

    println!("partition: no-quorum {known:.0?} after the cut, then within {took:.0?}");
    let story = load.stop().await;
    println!("partition: {} grants, (leader, term) {leaders:?}", story.grants.len());
    assert!(
        known.iter().all(|known| *known <= KNOWN_WITHIN),
        "it takes too long to notice: {known:?}"
    );
    assert!(
        took.iter().all(|took| *took <= ANSWER_WITHIN),
        "it takes too long to say no-quorum: {took:?}"
    );
    // The first cut takes the leader away; later ones, and every return, change nothing.
    assert!(leaders.len() <= 2, "the leader changed more than once: (leader, term) {leaders:?}");
    story.nothing_failed();
    story.kept(LIMITS);
    cluster.agree(&[1, 2, 3]).await;
    cluster.verify("work", &story).await;
}

async fn leader_and_term(cluster: &Cluster) -> (u64, u64) {
    let leader = cluster.leader().await;
    (leader, cluster.at(leader).group().await["term"].as_u64().unwrap())
}
