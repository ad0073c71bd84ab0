//! The API's part on stats.

use crate::harness::{NodeInside, concurrency, eventually};
use serde_json::json;

const MONTH_MS: u64 = 2_678_400_000;

#[tokio::test]
async fn stats_show_how_a_resource_stands() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let limits = json!({
        "tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 10, "window_ms": MONTH_MS},
        "slots": {"kind": "concurrency", "quota": 8, "cost": "load"}
    });
    client.create("r", limits).await;
    let idle = client.stats("r").await;
    let expected = json!({
        "queue_depth": 0, "queue_load": 0, "oldest_wait_ms": 0, "held": 0,
        "limits": {
            "tpm": {"quota": 10, "capacity": 10, "used": 0, "remaining": 10, "utilization": 0.0},
            "slots": {"quota": 8, "capacity": 8, "used": 0, "remaining": 8, "utilization": 0.0}
        },
        "head": null,
        "throughput": {"granted_per_s": 0.0, "released_per_s": 0.0, "rejected_per_s": 0.0},
        "wait_ms": null
    });
    assert_eq!(idle, expected);

    let held = client.granted("r", json!({"load": 4})).await;
    client.granted("r", json!({"load": 2})).await;
    client.waiting("r", json!({"load": 3})).await;
    client.waiting("r", json!({"load": 4})).await;
    client.release(&held.id()).await.is(200);
    client.acquire("r", json!({"load": 1})).await.problem(429, "limit-exceeded");
    // Of the queue the 3 was granted. A millionth of a unit has come back since, and does not show.
    let stats = client.stats("r").await;
    assert_eq!([&stats["queue_depth"], &stats["queue_load"], &stats["held"]], [1, 4, 2]);
    let tpm = json!({"quota": 10, "capacity": 10, "used": 9, "remaining": 1, "utilization": 0.9});
    let slots = json!({"quota": 8, "capacity": 8, "used": 5, "remaining": 3, "utilization": 0.625});
    assert_eq!(stats["limits"], json!({"tpm": tpm, "slots": slots}));
    client.get("/v1/resources/unknown/stats").await.problem(404, "resource-not-found");
}

#[tokio::test]
async fn stats_show_the_last_seconds() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;

    for _ in 0..10 {
        let lease = client.granted("r", json!({})).await;
        client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
        client.release(&lease.id()).await.is(200);
    }

    client.granted("r", json!({"ttl_ms": 300})).await;
    client.granted("r", json!({"wait_ms": 30000})).await;
    let seen = eventually("what happened is counted", || async {
        let stats = client.stats("r").await;
        (stats["throughput"]["granted_per_s"] == 1.2).then_some(stats)
    })
    .await;

    assert_eq!(
        seen["throughput"],
        json!({"granted_per_s": 1.2, "released_per_s": 1.0, "rejected_per_s": 1.0})
    );

    let wait = &seen["wait_ms"];
    assert_eq!(wait["p50"], 0);
    assert!(wait["p99"].as_u64().unwrap() > 0 && wait["p90"].is_u64(), "{wait}");
}

#[tokio::test]
async fn the_oldest_wait_is_the_one_of_the_longest_in_queue() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    client.granted("r", json!({})).await;
    client.waiting("r", json!({"priority": 9})).await;
    let oldest = || async { client.stats("r").await["oldest_wait_ms"].as_u64().unwrap() };
    let before =
        eventually("time passes", || async { Some(oldest().await).filter(|ms| *ms >= 100) }).await;
    client.waiting("r", json!({"priority": 0})).await;
    assert!(oldest().await >= before);
}
