//! The API's part on watching: the cluster, health, and what frames every answer.

use crate::harness::{NodeInside, concurrency, eventually, rate};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn the_cluster_view_shows_regions_nodes_and_groups() {
    let node = NodeInside::start().await;
    // The first thing that a new leader does is to raise the level.
    let view = eventually("the level is raised", || async {
        let view = node.client.get("/v1/cluster").await;
        view.is(200);
        (view.body["groups"]["local"]["feature_level"] == 2).then_some(view)
    })
    .await;
    assert_eq!(view.str("name"), "dev");
    assert!(!view.str("cluster_id").is_empty());
    let this = &view.body["regions"]["local"]["nodes"][0];
    assert_eq!((&this["id"], &this["http"]), (&json!(1), &json!(node.url())));
    let group = &view.body["groups"]["local"];
    assert_eq!(
        (&group["leader"], &group["voters"], &group["learners"]),
        (&json!(1), &json!([1]), &json!([]))
    );
    assert_eq!(&group["lag"], &json!(0));
    assert_eq!(group["last_log_index"], group["applied_index"]);
    assert_eq!(group["digest"].as_str().unwrap().len(), 16);

    let created = node.client.create("r", concurrency(1)).await;
    let after = node.client.group().await;
    assert_eq!(after["applied_index"], created.log_index());
    assert_ne!(after["digest"], group["digest"]);
}

#[tokio::test]
async fn health_and_readiness() {
    let node = NodeInside::start().await;
    assert_eq!(node.client.get("/healthz").await.is(200).text, "alive\n");
    assert_eq!(node.client.get("/readyz").await.is(200).text, "ready\n");
}

#[tokio::test]
async fn every_answer_says_who_served_it_and_who_leads() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", rate(1, 60000)).await;
    let lease = client.granted("r", json!({})).await.id();

    for (method, path, status) in [
        (Method::GET, "/v1/resources", 200),
        (Method::GET, "/v1/resources/r", 200),
        (Method::GET, "/v1/resources/none", 404),
        (Method::GET, "/v1/resources/r/leases", 200),
        (Method::GET, "/v1/resources/r/stats", 200),
        (Method::GET, &format!("/v1/leases/{lease}"), 200),
        (Method::POST, &format!("/v1/leases/{lease}/extend"), 200),
        (Method::POST, "/v1/resources/r/acquire", 429),
        (Method::POST, "/v1/resources/a!/acquire", 400),
        (Method::POST, &format!("/v1/leases/{lease}/release"), 200),
        (Method::GET, "/v1/cluster", 200),
        (Method::GET, "/healthz", 200),
        (Method::GET, "/readyz", 200),
        (Method::GET, "/metrics", 200),
        (Method::GET, "/openapi.json", 200),
        (Method::GET, "/nowhere", 404),
        (Method::POST, "/healthz", 405),
    ] {
        let answer = client.call(method, path, &[], None).await;
        answer.is(status);
        assert_eq!(answer.header("ratequeue-served-by"), Some("1"), "{}", answer.call);
        assert_eq!(answer.header("ratequeue-leader"), Some(node.url().as_str()), "{}", answer.call);
    }
}

/// Refusals are decisions too: they have their place in the log.
#[tokio::test]
async fn every_answer_of_a_write_has_its_log_index() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let limits = json!({"limits": concurrency(1)});
    let mut last = client.put("/v1/resources/r", limits.clone()).await.log_index();
    let held = client.granted("r", json!({})).await;
    let ended =
        client.keyed("/v1/resources/r/acquire", "k", json!({"wait_ms": 60000, "hold_ms": 0})).await;

    client.release(&ended.id()).await.is(200);
    let acquire = "/v1/resources/r/acquire";
    let (lease, gone) = (format!("/v1/leases/{}", held.id()), format!("/v1/leases/{}", ended.id()));
    let stale = [("If-Match", "\"9\"")];
    let key = [("Idempotency-Key", "k")];

    // Without a key of its caller an unknown name is answered by a read.
    let (patch, delete) = ([("Idempotency-Key", "p")], [("Idempotency-Key", "d")]);
    for (method, path, headers, body, status) in [
        (Method::PUT, "/v1/resources/r", &[][..], limits.clone(), 200),
        (Method::PUT, "/v1/resources/r", &stale, limits.clone(), 412),
        (Method::PATCH, "/v1/resources/r", &[], json!({"limits": {"slots": {"quota": 1}}}), 200),
        (Method::PATCH, "/v1/resources/none", &patch, json!({}), 404),
        (Method::POST, acquire, &[], json!({}), 429),
        (Method::POST, acquire, &[], json!({"wait_ms": 50}), 429),
        (Method::POST, acquire, &[], json!({"wait_ms": 50000, "hold_ms": 0}), 202),
        (Method::POST, acquire, &[], json!({"load": 2, "wait_ms": 50000, "hold_ms": 0}), 202),
        (Method::POST, acquire, &key, json!({"wait_ms": 60000, "hold_ms": 0}), 410),
        (Method::POST, acquire, &key, json!({}), 422),
        (Method::POST, &format!("{lease}/extend"), &[], json!({}), 200),
        (Method::POST, &format!("{gone}/extend"), &[], json!({}), 409),
        (Method::POST, &format!("{lease}/release"), &[], json!({}), 200),
        (Method::DELETE, "/v1/resources/r", &stale, Value::Null, 412),
        (Method::DELETE, "/v1/resources/r", &[], Value::Null, 204),
        (Method::DELETE, "/v1/resources/r", &delete, Value::Null, 404),
    ] {
        let answer =
            client.call(method, path, headers, Some(body).filter(|body| !body.is_null())).await;
        answer.is(status);
        assert!(answer.log_index() > last, "{}: {} after {last}", answer.call, answer.log_index());
        last = answer.log_index();
    }
}
