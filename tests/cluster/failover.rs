//! The leader is killed again and again while the cluster works: nothing that was acknowledged is
//! lost, no limit is exceeded, and the queue keeps its order.

use std::time::{Duration, Instant};

use ratequeue_api::AcquireRequest;
use ratequeue_api::client::Client;
use ratequeue_api::lease::LeaseState;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::harness::{concurrency, eventually};
use crate::load::{Limits, Load, median};
use crate::turn::Turn;

const KILLS: usize = 20;
const CALLERS: usize = 64;
const LIMITS: Limits = Limits { slots: 10, rate: 50, window: Duration::from_millis(50) };
const WAITERS: usize = 8;
/// A lease that outlives the test.
const LONG_MS: u64 = 600_000;

/// The design promises 600 ms, and the printed figure tells; what is asserted leaves room for a
/// machine that is busy.
const MEDIAN_MAX: Duration = Duration::from_millis(900);
const GAP_MAX: Duration = Duration::from_millis(2_500);

/// A kill: when, when the service was seen to go on, and when the node was started again and had
/// caught up.
struct Kill {
    at: Instant,
    went_on: Instant,
    back: Instant,
}

#[tokio::test]
async fn the_loss_of_leaders_loses_and_exceeds_nothing() {
    let _turn = Turn::alone();
    let mut cluster = Cluster::formed(3).await;
    let client = cluster.client();
    cluster.at(1).create("work", LIMITS.json()).await;
    cluster.at(1).create("long", concurrency(1_000)).await;
    let (holder, queue) = form_a_line(&cluster).await;
    let load = Load::start(&cluster.urls([1, 2, 3]), "work", CALLERS);
    load.goes_on(200).await;

    let mut kills = Vec::new();
    for _ in 0..KILLS {
        let kept = [long_lease(&client).await, long_lease(&client).await];
        let leader = cluster.leader().await;
        let at = Instant::now();
        cluster.node_mut(leader).kill().await;
        load.goes_on(20).await;
        let went_on = Instant::now();
        is_still_there(&cluster, &queue, &kept).await;
        cluster.node_mut(leader).start().await;
        cluster.node(leader).ready().await;
        cluster.caught_up(leader).await;
        kills.push(Kill { at, went_on, back: Instant::now() });
        load.goes_on(50).await;
    }

    let story = load.stop().await;
    story.nothing_failed();
    story.kept(LIMITS);
    is_granted_in_order(&cluster, holder, &queue).await;
    cluster.agree(&[1, 2, 3]).await;
    let gaps: Vec<_> = kills.iter().map(|kill| story.longest_gap(kill.at, kill.went_on)).collect();
    let returns: Vec<_> =
        kills.iter().map(|kill| story.longest_gap(kill.went_on, kill.back)).collect();
    println!("failover: {} grants, at most {} held at once", story.grants.len(), story.held_max);
    println!("failover: gaps {gaps:.0?}, median {:.0?}", median(&gaps));
    println!("failover: gaps while the node came back {returns:.0?}");
    assert!(gaps.iter().all(|gap| *gap <= GAP_MAX), "a gap is over {GAP_MAX:?}: {gaps:?}");
    assert!(median(&gaps) <= MEDIAN_MAX, "the median of the gaps is over {MEDIAN_MAX:?}: {gaps:?}");
    cluster.verify("work", &story).await;
}

/// A lease that somebody keeps for long.
async fn long_lease(client: &Client) -> String {
    let request = AcquireRequest { ttl_ms: Some(LONG_MS), ..AcquireRequest::default() };
    let lease = client.acquire("long", &request, &Client::new_key(), |_| {}).await.unwrap();
    assert_eq!(lease.state, LeaseState::Held);
    lease.id
}

/// One lease that is held, and those that wait for it, in order.
async fn form_a_line(cluster: &Cluster) -> (String, Vec<String>) {
    let queue = json!({"limits": concurrency(1), "queue": {"max_wait_ms": LONG_MS}});
    cluster.at(1).put("/v1/resources/queue", queue).await.is(201);
    let holder = cluster.at(1).granted("queue", json!({"ttl_ms": LONG_MS})).await.id();
    let mut queue = Vec::new();
    for _ in 0..WAITERS {
        let body = json!({"wait_ms": LONG_MS, "ttl_ms": LONG_MS});
        queue.push(cluster.at(2).waiting("queue", body).await.id());
    }
    (holder, queue)
}

fn ids(leases: &[Value]) -> Vec<&str> {
    leases.iter().filter_map(|lease| lease["id"].as_str()).collect()
}

/// After the loss of a leader: the leases that were acknowledged before are held, and one of them
/// can be released; the queue is as it was. The looks at the queue keep its places.
async fn is_still_there(cluster: &Cluster, queue: &[String], kept: &[String]) {
    let survivor = cluster.at(cluster.follower().await);
    for lease in kept {
        let seen = survivor.lease(lease).await;
        assert_eq!(seen.is(200).str("state"), "held", "an acknowledged lease");
    }

    survivor.release(&kept[0]).await.is(200);
    for lease in queue {
        assert_eq!(
            survivor.lease(lease).await.is(200).str("state"),
            "waiting",
            "a place in the queue"
        );
    }

    let waiting = survivor.leases("queue", "waiting").await;
    assert_eq!(ids(&waiting), queue, "the order of the queue");
}

/// The queue moves on as it stood before the kills.
async fn is_granted_in_order(cluster: &Cluster, holder: String, queue: &[String]) {
    let mut holds = holder;
    for next in queue {
        cluster.at(3).release(&holds).await.is(200);
        let held = cluster.at(1).get(&format!("/v1/leases/{next}?wait_ms=10000")).await;
        assert_eq!(held.is(200).str("state"), "held", "the next in the queue");
        holds.clone_from(next);
    }
    cluster.at(2).release(&holds).await.is(200);
    let survivor = cluster.at(2);
    eventually("nobody holds the queue any more", || async {
        survivor.leases("queue", "held").await.is_empty().then_some(())
    })
    .await;
}
