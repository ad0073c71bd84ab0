//! Ids, keys and loads that the group itself refuses.

use serde_json::json;

use crate::harness::{Node, concurrency, eventually};

#[tokio::test]
async fn unknown_resources() {
    let node = Node::start().await;
    let client = &node.client;
    for answer in [
        client.get("/v1/resources/none").await,
        client.patch("/v1/resources/none", json!({"queue": {"max_waiting": 1}})).await,
        client.delete("/v1/resources/none").await,
        client.acquire("none", json!({})).await,
        client.acquire("none", json!({"wait_ms": 60000})).await,
        client.get("/v1/resources/none/stats").await,
        client.get("/v1/resources/none/leases?state=waiting").await,
    ] {
        answer.problem(404, "resource-not-found").says(&["none"]);
        assert_eq!(answer.body["resource"], "none");
    }
}

#[tokio::test]
async fn lease_ids_that_were_made_up_or_cut() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let held = client.granted("r", json!({})).await;
    let id = held.id();
    let digits = id.strip_prefix("local.").unwrap();

    // One digit changed: in the part that counts, and in the part that is checked.
    let flip = |at: usize| {
        let mut bytes = digits.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        format!("local.{}", String::from_utf8(bytes).unwrap())
    };

    for made_up in [
        id[..id.len() - 1].to_owned(),
        format!("{id}0"),
        digits.to_owned(),
        format!("global.{digits}"),
        format!(".{digits}"),
        format!("local.{}", digits.to_uppercase()),
        format!("local.local.{digits}"),
        flip(12),
        flip(13),
        flip(19),
        "local.".to_owned(),
        ".".to_owned() + "x",
        "1".to_owned(),
        format!("local.{}", "z".repeat(20)),
        format!("local.{}", "0".repeat(20)),
        "%FF".to_owned(),
        "%20".to_owned(),
        "local.%C3%A9".to_owned(),
        "x".repeat(5000),
    ] {
        client.lease(&made_up).await.problem(404, "lease-not-found");
        client.release(&made_up).await.problem(404, "lease-not-found");
        client.extend(&made_up, json!({"ttl_ms": 1})).await.problem(404, "lease-not-found");
    }

    let still = client.lease(&id).await;
    assert_eq!((still.str("state"), still.u64("log_index")), ("held", held.log_index()));
    assert_eq!(client.stats("r").await["held"], 1);
}

#[tokio::test]
async fn refusals_leave_no_trace_in_the_state() {
    let node = Node::start().await;
    let client = &node.client;
    let limits = json!({
        "slots": {"kind": "concurrency", "quota": 1},
        "tokens": {"kind": "rate", "quota": 10, "window_ms": 60000, "cost": "tokens"}
    });
    client.create("r", limits).await;
    let load = json!({"load": {"tokens": 1}});
    let held = client.keyed("/v1/resources/r/acquire", "k", load.clone()).await;
    let before = client.stats("r").await;
    let leases = client.leases("r", "held").await;

    let scalar = client.acquire("r", json!({"load": 1})).await;
    scalar.problem(400, "bad-request").says(&["tokens", "map"]);
    client.acquire("r", json!({})).await.problem(400, "bad-request").says(&["tokens", "map"]);
    client
        .acquire("r", json!({"load": {"tokens": 11}}))
        .await
        .problem(422, "load-exceeds-capacity")
        .says(&["tokens", "10"]);
    client.acquire("r", load.clone()).await.problem(429, "limit-exceeded");
    for (path, body) in [
        ("/v1/resources/r/acquire", json!({"load": {"tokens": 2}})),
        ("/v1/resources/r/acquire", json!({"load": {"tokens": 1}, "priority": 4})),
    ] {
        client.keyed(path, "k", body).await.problem(422, "idempotency-conflict");
    }
    let after = client.stats("r").await;
    for field in ["queue_depth", "queue_load", "held", "limits"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(client.leases("r", "held").await.len(), leases.len());
    assert_eq!(client.keyed("/v1/resources/r/acquire", "k", load).await.is(200).id(), held.id());
}

#[tokio::test]
async fn leases_that_are_over() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let released = client.granted("r", json!({})).await.id();
    let first = client.release(&released).await;
    assert_eq!(client.release(&released).await.is(200).body, first.body);
    client.extend(&released, json!({})).await.problem(409, "lease-not-held");

    let expired = client.granted("r", json!({"ttl_ms": 50})).await.id();
    eventually("it expires", || async {
        (client.lease(&expired).await.str("state") == "expired").then_some(())
    })
    .await;
    client.extend(&expired, json!({"ttl_ms": 60000})).await.problem(410, "lease-expired");
    client.release(&expired).await.problem(410, "lease-expired");
    assert_eq!(client.stats("r").await["held"], 0);
    client.granted("r", json!({})).await;
}
