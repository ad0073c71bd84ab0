//! Callers that die in the queue at a node that does not lead: nobody holds a slot for them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::harness::{Answer, Client, concurrency, eventually};
use crate::turn::Turn;

const CLAIM: Duration = Duration::from_millis(1_500);
const MARGIN: Duration = Duration::from_secs(1);

/// A call that waits at `node`, as the last one in line. The leader is asked whether it is: another
/// node may be behind.
async fn in_queue(
    leads: &Client,
    node: &Client,
    key: Option<&'static str>,
) -> JoinHandle<Result<Answer, reqwest::Error>> {
    let before = leads.leases("r", "waiting").await.len();
    let caller = node.clone();
    let call = tokio::spawn(async move {
        let headers: Vec<_> = key.into_iter().map(|key| ("Idempotency-Key", key)).collect();
        let body = Some(json!({"wait_ms": 60_000, "hold_ms": 30_000}));
        caller.try_call(Method::POST, "/v1/resources/r/acquire", &headers, body).await
    });
    eventually("it is in the queue", || async {
        leads.leases("r", "waiting").await.get(before).cloned()
    })
    .await;
    call
}

#[tokio::test]
async fn a_caller_that_dies_at_a_follower_costs_the_next_one_little() {
    let _turn = Turn::shared();
    let cluster = Cluster::formed(3).await;
    let resource = json!({"limits": concurrency(1), "queue": {"claim_ms": CLAIM.as_millis()}});
    let created = || async {
        (cluster.at(1).put("/v1/resources/r", resource.clone()).await.status == 201).then_some(())
    };

    eventually("all nodes know claim_ms", created).await;
    let leader = cluster.leader().await;
    let (leads, follows) = (cluster.at(leader), cluster.at(leader % 3 + 1));

    for (key, limit) in [(Some("dead"), CLAIM + MARGIN), (None, MARGIN)] {
        let held = leads.granted("r", json!({"ttl_ms": 600_000})).await.id();
        let gone = in_queue(leads, follows, key).await;
        let next = in_queue(leads, leads, Some(if key.is_some() { "next" } else { "last" })).await;
        gone.abort();
        if key.is_none() {
            let is_alone =
                || async { (leads.leases("r", "waiting").await.len() == 1).then_some(()) };
            let begun = Instant::now();
            eventually("its place is gone", is_alone).await;
            assert!(begun.elapsed() < MARGIN, "{:?}", begun.elapsed());
        }
        leads.call(Method::POST, &format!("/v1/leases/{held}/release"), &[], None).await.is(200);
        let freed = Instant::now();
        let granted = next.await.unwrap().unwrap();
        let cost = freed.elapsed();
        println!("hung up, key {key:?}: it cost the next one {cost:.0?}");
        assert!(cost < limit, "key {key:?}: it cost the next one {cost:?}");
        let id = granted.is(200).id();
        leads.call(Method::POST, &format!("/v1/leases/{id}/release"), &[], None).await.is(200);
    }

    cluster.agree(&[1, 2, 3]).await;
}
