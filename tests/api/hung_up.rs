//! Callers that die in the queue: nobody holds a slot for them.

use std::time::{Duration, Instant};

use crate::harness::{Answer, Client, NodeInside, concurrency, eventually, rate};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const ACQUIRE: &str = "/v1/resources/r/acquire";
/// As the resource of these tests says.
const CLAIM: Duration = Duration::from_millis(1_500);
/// What the end of a caller may cost the next one on top.
const MARGIN: Duration = Duration::from_secs(1);

fn call(client: &Client, key: Option<&'static str>, body: Value) -> JoinHandle<Answer> {
    let client = client.clone();
    tokio::spawn(async move {
        let headers: Vec<_> = key.into_iter().map(|key| ("Idempotency-Key", key)).collect();
        client.call(Method::POST, ACQUIRE, &headers, Some(body)).await
    })
}

/// A call that waits in the queue, as the last one.
async fn in_queue(client: &Client, key: Option<&'static str>) -> (JoinHandle<Answer>, String) {
    let before = client.leases("r", "waiting").await.len();
    let call = call(client, key, json!({"wait_ms": 60_000, "hold_ms": 30_000}));
    let last = eventually("it is in the queue", || async {
        client.leases("r", "waiting").await.get(before).cloned()
    })
    .await;
    (call, last["id"].as_str().unwrap().to_owned())
}

/// Creates it. A node that has just begun to lead may not know of `claim_ms` yet.
async fn create(client: &Client, resource: Value) {
    let created = || async {
        (client.put("/v1/resources/r", resource.clone()).await.status == 201).then_some(())
    };
    eventually("it is created", created).await;
}

/// One slot, which is held, and how long a grant waits to be claimed.
async fn node() -> (NodeInside, String) {
    let node = NodeInside::start().await;
    let resource = json!({"limits": concurrency(1), "queue": {"claim_ms": CLAIM.as_millis()}});
    create(&node.client, resource).await;
    let held = node.client.granted("r", json!({"ttl_ms": 900_000})).await.id();
    (node, held)
}

async fn release(client: &Client, id: &str) -> Answer {
    client.call(Method::POST, &format!("/v1/leases/{id}/release"), &[], None).await
}

/// It is held longer than it would be if somebody had to claim it.
async fn stays_held(client: &Client, id: &str) {
    tokio::time::sleep(CLAIM + MARGIN).await;
    assert_eq!(client.lease(id).await.is(200).str("state"), "held");
}

async fn depth(client: &Client) -> u64 {
    client.get("/v1/resources/r/stats").await.is(200).u64("queue_depth")
}

#[tokio::test]
async fn without_a_key_its_place_is_gone_at_once() {
    let (node, held) = node().await;
    let client = &node.client;
    let (gone, id) = in_queue(client, None).await;
    gone.abort();
    let begun = Instant::now();
    eventually("its place is gone", || async { (depth(client).await == 0).then_some(()) }).await;
    assert!(begun.elapsed() < MARGIN, "{:?}", begun.elapsed());
    assert_eq!(client.lease(&id).await.is(200).str("state"), "cancelled");
    let next = call(client, None, json!({"wait_ms": 60_000}));
    eventually("it waits", || async { (depth(client).await == 1).then_some(()) }).await;
    release(client, &held).await.is(200);
    let freed = Instant::now();
    next.await.unwrap().is(200);
    assert!(freed.elapsed() < MARGIN, "it cost the next one {:?}", freed.elapsed());
}

#[tokio::test]
async fn with_a_key_it_costs_the_next_one_no_more_than_the_time_to_claim() {
    let (node, held) = node().await;
    let client = &node.client;
    let (gone, id) = in_queue(client, Some("dead")).await;
    let (next, _) = in_queue(client, Some("next")).await;
    gone.abort();
    release(client, &held).await.is(200);
    let freed = Instant::now();
    next.await.unwrap().is(200);
    let cost = freed.elapsed();
    assert!(cost >= CLAIM / 2 && cost < CLAIM + MARGIN, "it cost the next one {cost:?}");
    assert_eq!(client.lease(&id).await.is(200).str("state"), "lapsed");
    let again = client.keyed(ACQUIRE, "dead", json!({"wait_ms": 60_000})).await;
    assert_eq!(again.problem(410, "lease-ended").str("state"), "lapsed");
    release(client, &id).await.problem(410, "lease-ended");
}

#[tokio::test]
async fn who_comes_back_in_time_has_what_it_was_granted() {
    let (node, held) = node().await;
    let client = &node.client;
    let (gone, id) = in_queue(client, Some("back")).await;
    gone.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    release(client, &held).await.is(200);
    eventually("it is granted", || async { client.leases("r", "held").await.first().cloned() })
        .await;
    let back = client.keyed(ACQUIRE, "back", json!({"wait_ms": 60_000})).await;
    assert_eq!(back.is(200).id(), id);
    stays_held(client, &id).await;
}

#[tokio::test]
async fn a_look_claims_it_too() {
    let (node, held) = node().await;
    let client = &node.client;
    let (gone, id) = in_queue(client, Some("looks")).await;
    gone.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    release(client, &held).await.is(200);
    assert_eq!(client.lease(&id).await.is(200).str("state"), "held");
    stays_held(client, &id).await;
    assert_eq!(
        client.lease(&id).await.is(200).body["expires_in_ms"].as_u64().map(|left| left > 50_000),
        Some(true)
    );
}

/// The answer to one of two calls of the same key is worth as much as if it were the only one.
#[tokio::test]
async fn the_end_of_one_call_does_not_harm_another_of_the_same_key() {
    let (node, held) = node().await;
    let client = &node.client;
    let (first, id) = in_queue(client, Some("twice")).await;
    let second = call(client, Some("twice"), json!({"wait_ms": 60_000, "hold_ms": 30_000}));
    tokio::time::sleep(Duration::from_millis(300)).await;
    second.abort();
    tokio::time::sleep(Duration::from_millis(300)).await;
    release(client, &held).await.is(200);
    assert_eq!(first.await.unwrap().is(200).id(), id);
    stays_held(client, &id).await;
}

/// Who holds it works on: the key named one call for two jobs, and the second one died.
#[tokio::test]
async fn a_second_caller_that_dies_does_not_take_it_from_the_first() {
    let (node, held) = node().await;
    let client = &node.client;
    release(client, &held).await.is(200);
    let id = client.keyed(ACQUIRE, "shared", json!({"ttl_ms": 60_000})).await.is(200).id();
    for delay_us in (0..60).map(|n| n * 100) {
        let second = call(client, Some("shared"), json!({"ttl_ms": 60_000}));
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        second.abort();
    }
    stays_held(client, &id).await;
}

/// At any instant, also while it is being decided: nothing is left of callers who never said how
/// they are called.
#[tokio::test]
async fn nothing_is_left_of_calls_without_a_key() {
    let (node, held) = node().await;
    let client = &node.client;
    for delay_us in (0..40).map(|n| n * 500) {
        let gone = call(client, None, json!({"wait_ms": 60_000, "hold_ms": 30_000}));
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        gone.abort();
    }
    eventually("nobody waits", || async { (depth(client).await == 0).then_some(()) }).await;
    release(client, &held).await.is(200);
    let free = eventually("the slot is free", || async {
        let stats = client.get("/v1/resources/r/stats").await;
        (stats.u64("held") == 0 && stats.u64("queue_depth") == 0).then_some(())
    });
    free.await;
}

/// What a lapsed lease was charged is given back: its work never ran.
#[tokio::test]
async fn a_lapsed_lease_costs_no_tokens() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let mut limits = concurrency(1);
    limits["tpm"] = rate(100, 600_000)["tpm"].clone();
    create(client, json!({"limits": limits, "queue": {"claim_ms": 200}})).await;
    let held = client.granted("r", json!({"load": 10})).await.id();

    let body = json!({"load": 60, "wait_ms": 60_000, "hold_ms": 30_000});
    let gone = call(client, Some("dead"), body);
    eventually("it waits", || async { (depth(client).await == 1).then_some(()) }).await;
    gone.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    release(client, &held).await.is(200);

    eventually("it lapses", || async {
        let stats = client.get("/v1/resources/r/stats").await;
        (stats.u64("held") == 0 && stats.body["limits"]["tpm"]["used"] == 10).then_some(())
    })
    .await;

    let metrics = client.get("/metrics").await.text;
    let lapsed =
        metrics.lines().find(|line| line.contains("outcome=\"lapsed\"") && line.contains("\"r\""));
    assert!(lapsed.is_some_and(|line| line.ends_with(" 1")), "{lapsed:?}");
}
