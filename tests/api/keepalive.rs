//! A place in the queue is kept for those who ask for it, and for nobody else.

use std::time::{Duration, Instant};

use crate::harness::{Client, NodeInside, concurrency, eventually, until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const ACQUIRE: &str = "/v1/resources/r/acquire";
/// A caller that is away for less than this keeps its place.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// By then at the latest a place that nobody asks for is given up.
const GIVEN_UP: Duration = Duration::from_secs(25);

/// A call that is held open until it is answered, or aborted.
fn attached(client: &Client, key: &str) -> JoinHandle<crate::harness::Answer> {
    let (client, key) = (client.clone(), key.to_owned());
    tokio::spawn(async move {
        client.keyed(ACQUIRE, &key, json!({"wait_ms": 60_000, "hold_ms": 30_000})).await
    })
}

/// Starts a call, and returns with it once it is the last in the queue.
async fn in_queue(client: &Client, key: &str) -> (JoinHandle<crate::harness::Answer>, String) {
    let before = client.leases("r", "waiting").await.len();
    let call = attached(client, key);
    let last = eventually("it is in the queue", || async {
        client.leases("r", "waiting").await.get(before).cloned()
    })
    .await;
    (call, last["id"].as_str().unwrap().to_owned())
}

async fn state(client: &Client, id: &str) -> Option<Value> {
    let waiting = client.leases("r", "waiting").await;
    waiting.iter().find(|lease| lease["id"] == id).cloned()
}

async fn node() -> NodeInside {
    let node = NodeInside::start().await;
    node.client.create("r", concurrency(1)).await;
    node.client.granted("r", json!({"ttl_ms": 900_000})).await;
    node
}

#[tokio::test]
async fn who_hangs_up_loses_the_place_and_who_comes_back_keeps_it() {
    let node = node().await;
    let client = &node.client;
    let (gone, gone_id) = in_queue(client, "gone").await;
    let (back, back_id) = in_queue(client, "back").await;
    let (looking, looking_id) = in_queue(client, "looking").await;
    let (away, away_id) = in_queue(client, "away").await;

    // A call that has been attached for a while: its last sign of life may be some seconds old.
    until(Instant::now() + Duration::from_millis(4500)).await;
    for call in [&gone, &back, &looking, &away] {
        call.abort();
    }
    let hung_up = Instant::now();

    // The one asks with its key, another with the id of its lease, again and again.
    let asking = async {
        for _ in 0..4 {
            until(Instant::now() + Duration::from_secs(5)).await;
            let again =
                client.keyed(ACQUIRE, "back", json!({"wait_ms": 60_000, "hold_ms": 0})).await;
            assert_eq!(again.is(202).id(), back_id);
            assert_eq!(client.lease(&looking_id).await.is(200).str("state"), "waiting");
        }
    };
    // Another comes back once, and not soon.
    let returning = async {
        until(hung_up + KEEPALIVE - Duration::from_secs(4)).await;
        let again = client.keyed(ACQUIRE, "away", json!({"wait_ms": 60_000, "hold_ms": 0})).await;
        assert!(hung_up.elapsed() < KEEPALIVE, "the test itself was too slow");
        assert_eq!(again.is(202).id(), away_id, "it came back within {KEEPALIVE:?}");
    };
    let given_up = async {
        eventually("the place is given up", || async {
            state(client, &gone_id).await.is_none().then_some(())
        })
        .await;
        hung_up.elapsed()
    };
    let (given_up, (), ()) = tokio::join!(given_up, asking, returning);
    assert!(given_up < GIVEN_UP, "{given_up:?}");

    assert_eq!(client.lease(&gone_id).await.is(200).str("state"), "cancelled");
    let again = client.keyed(ACQUIRE, "gone", json!({"wait_ms": 60_000, "hold_ms": 0})).await;
    assert_eq!(again.problem(410, "lease-ended").str("state"), "cancelled");
    assert_eq!(state(client, &back_id).await.unwrap()["position"], 1, "those behind have moved up");
}

#[tokio::test]
async fn who_stays_attached_keeps_the_place() {
    let node = node().await;
    let client = &node.client;
    let (first, _) = in_queue(client, "first").await;
    // A look holds the place as well as an acquire does.
    let place = client.waiting("r", json!({})).await;
    let look = {
        let (client, path) = (client.clone(), format!("/v1/leases/{}?wait_ms=30000", place.id()));
        tokio::spawn(async move { client.get(&path).await })
    };
    let start = Instant::now();
    until(start + Duration::from_secs(21)).await;
    let line = client.leases("r", "waiting").await;
    assert_eq!(line.len(), 2, "both still wait");

    client.patch("/v1/resources/r", json!({"limits": {"slots": {"quota": 3}}})).await.is(200);
    let granted = first.await.unwrap();
    assert!(granted.is(200).u64("waited_ms") >= 20_000);
    let looked = look.await.unwrap();
    assert_eq!((looked.is(200).id(), looked.str("state")), (place.id(), "held"));
}
