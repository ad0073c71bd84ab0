//! A node is cut off from the others, again and again: it decides nothing and says so quickly, the others go on, and its
//! return deposes nobody.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE};
use crate::harness::Client;
use crate::load::{Limits, Load};
use crate::netns::{Cut, Network};
use crate::turn::Turn;

const CUTS: usize = 20;
const CALLERS: usize = 16;
const LIMITS: Limits = Limits { slots: 10, rate: 50, window: Duration::from_millis(50) };

/// How soon after the cut a node knows that it decides nothing: calls that were begun before may be unknown until then.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// How soon it says so from then on.
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
    let body = json!({"wait_ms": 1_000});
    let answer = node.call(Method::POST, "/v1/resources/work/acquire", &[], Some(body)).await;
    (begun.elapsed(), answer.is(503).str("code").to_owned())
}

/// Until the node says no-quorum; how long that took from the cut, and then the time of one more call.
async fn knows(node: &Client) -> (Duration, Duration) {
    let cut = Instant::now();
    loop {
        let (_, code) = refusal(node).await;
        assert!(code == "no-quorum" || code == "unknown-outcome", "{code}");
        assert!(cut.elapsed() < KNOWN_WITHIN, "{code} after {:?}", cut.elapsed());
        if code == "no-quorum" {
            break;
        }
    }
    let known = cut.elapsed();
    let (took, code) = refusal(node).await;
    assert_eq!(code, "no-quorum");
    node.get("/readyz").await.problem(503, "no-quorum");
    (known, took)
}

#[tokio::test]
async fn a_node_that_is_cut_off_and_returns_deposes_nobody() {
    let _turn = Turn::alone();
    let Some(network) = network() else { return };
    let nodes = (1..=3).map(|id| (u64::from(id), network.place(id), Some(network.namespace(id))));
    let mut cluster = Cluster::of("test", network.place(1).http.ip(), nodes.collect());
    cluster.start().await;
    cluster.init().await;
    cluster.at(1).create("work", LIMITS.json()).await;
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
        load.goes_on(10).await;
        network.heal(victim);
        cluster.node(victim).ready().await;
        cluster.caught_up(victim).await;
        leaders.insert(leader_and_term(&cluster).await);
        load.goes_on(10).await;
    }

    println!("partition: no-quorum {known:.0?} after the cut, then within {took:.0?}");
    let story = load.stop().await;
    println!("partition: {} grants, (leader, term) {leaders:?}, patience {PATIENCE:?}", story.grants.len());
    assert!(took.iter().all(|took| *took <= ANSWER_WITHIN), "it takes too long to say no-quorum: {took:?}");
    // The first cut takes the leader away; later ones, and every return, change nothing.
    assert!(leaders.len() <= 2, "the leader changed more than once: (leader, term) {leaders:?}");
    story.nothing_failed();
    story.kept(LIMITS);
    cluster.agree(&[1, 2, 3]).await;
}

async fn leader_and_term(cluster: &Cluster) -> (u64, u64) {
    let leader = cluster.leader().await;
    (leader, cluster.at(leader).group().await["term"].as_u64().unwrap())
}
