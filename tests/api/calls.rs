//! Calls that the tests of leases make, and what their answers have.

use crate::harness::{Answer, Client, NodeInside, eventually};
use serde_json::{Value, json};

/// The fields of a lease that is held.
pub const GRANTED: [&str; 8] = [
    "id",
    "resource",
    "state",
    "fencing_token",
    "charged",
    "expires_in_ms",
    "waited_ms",
    "log_index",
];
/// The fields of one that waits.
pub const WAITING: [&str; 6] =
    ["id", "resource", "state", "position", "load_ahead", "retry_after_ms"];
/// What a view of a lease shows on top.
pub const VIEW: [&str; 3] = ["load", "priority", "metadata"];

/// Whether this is a time to live, less what passed until the answer was on its way: never more, on
/// a slow machine less.
pub fn just_under(left_ms: u64, ttl_ms: u64) -> bool {
    (ttl_ms.saturating_sub(4_000)..=ttl_ms).contains(&left_ms)
}

/// A node with one resource, `r`.
pub async fn node_with(limits: Value) -> NodeInside {
    let node = NodeInside::start().await;
    node.client.create("r", limits).await;
    node
}

/// Starts a call that is held open, and returns once its lease is in the queue. `body` must make it
/// wait.
pub async fn open_call(client: &Client, mut body: Value) -> tokio::task::JoinHandle<Answer> {
    let before = client.stats("r").await["queue_depth"].as_u64().unwrap();
    if body["wait_ms"].is_null() {
        body["wait_ms"] = json!(60_000);
    }
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.acquire("r", body).await })
    };
    eventually("the call is in the queue", || async {
        (client.stats("r").await["queue_depth"].as_u64().unwrap() > before).then_some(())
    })
    .await;
    call
}

pub async fn keyed(client: &Client, key: &str, body: Value) -> Answer {
    client.keyed("/v1/resources/r/acquire", key, body).await
}

/// Waits until a lease is in this state.
pub async fn becomes(client: &Client, id: &str, state: &str) -> Answer {
    eventually(&format!("the lease is {state}"), || async {
        let lease = client.lease(id).await;
        (lease.is(200).str("state") == state).then_some(lease)
    })
    .await
}
