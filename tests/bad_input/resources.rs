//! Resources with values that are wrong, or that make no sense together.

use reqwest::Method;
use serde_json::{Value, json};

use crate::calls::{MONTH_MS, node, unchanged};
use crate::harness::concurrency;

/// A body, and words of the refusal.
type Wrong = (Value, &'static [&'static str]);

fn limit(field: &str, value: Value) -> Value {
    let mut limit =
        json!({"kind": "rate", "algorithm": "token_bucket", "quota": 5, "window_ms": 1000});
    limit[field] = value;
    json!({"limits": {"tpm": limit}})
}

fn with(field: &str, value: Value) -> Value {
    let mut resource = json!({"limits": concurrency(1)});
    resource[field] = value;
    resource
}

fn wrong_limits() -> Vec<Wrong> {
    vec![
        (limit("quota", json!(0)), &["limits.tpm.quota", "1 to 9007199254740992"]),
        (limit("quota", json!(-5)), &["limits.tpm.quota", "1 to 9007199254740992"]),
        (limit("quota", json!(1.5)), &["limits.tpm.quota", "whole number"]),
        (limit("quota", json!("5")), &["limits.tpm.quota", "whole number"]),
        (
            limit("quota", json!(9_007_199_254_740_993_u64)),
            &["limits.tpm.quota", "9007199254740992"],
        ),
        (limit("window_ms", json!(0)), &["limits.tpm.window_ms", "1 to 2678400000"]),
        (limit("window_ms", json!(MONTH_MS + 1)), &["limits.tpm.window_ms", "1 to 2678400000"]),
        (limit("burst", json!(0)), &["limits.tpm.burst", "1 to 9007199254740992"]),
        (limit("kind", json!("speed")), &["limits.tpm.kind", "rate", "concurrency"]),
        (
            limit("algorithm", json!("leaky")),
            &["limits.tpm.algorithm", "sliding_window", "token_bucket"],
        ),
        (limit("true_up", json!("never")), &["limits.tpm.true_up", "debit_only"]),
        (limit("cost", json!("Load")), &["limits.tpm.cost", "one, load"]),
        (limit("cost", json!("line")), &["limits.tpm.cost", "one, load"]),
        (limit("cost", json!(1)), &["limits.tpm.cost", "string"]),
        (limit("qouta", json!(1)), &["qouta", "quota", "window_ms"]),
    ]
}

fn wrong_resources() -> Vec<Wrong> {
    vec![
        (with("limit", json!({})), &["limit", "limits", "queue", "lease"]),
        (with("limits", json!({"TPM": concurrency(1)["slots"]})), &["limits.TPM", "a-z 0-9 _"]),
        (with("limits", json!({"one": concurrency(1)["slots"]})), &["limits.one", "not be one"]),
        (
            with("limits", json!({"x".repeat(33): concurrency(1)["slots"]})),
            &["limits.xxx", "1 to 32"],
        ),
        (with("limits", json!([])), &["limits", "an object"]),
        (with("placement", json!(1)), &["placement", "string"]),
        (with("queue", json!({"max_waiting": 1_000_001})), &["queue.max_waiting", "0 to 1000000"]),
        (with("queue", json!({"max_waiting": -1})), &["queue.max_waiting", "0 to 1000000"]),
        (
            with("queue", json!({"max_wait_ms": MONTH_MS + 1})),
            &["queue.max_wait_ms", "0 to 2678400000"],
        ),
        (with("queue", json!({"max": 1})), &["max", "max_waiting"]),
        (with("lease", json!({"max_ttl_ms": 0})), &["lease.max_ttl_ms", "1 to 2678400000"]),
        (
            with("lease", json!({"max_ttl_ms": MONTH_MS + 1})),
            &["lease.max_ttl_ms", "1 to 2678400000"],
        ),
        (with("lease", json!({"default_ttl_ms": 0})), &["lease.default_ttl_ms", "1 to 2678400000"]),
    ]
}

/// Bodies that a patch may have, and a put may not.
fn incomplete_resources() -> [Wrong; 4] {
    [
        (json!({}), &["limits"]),
        (json!({"limits": {"a": {"quota": 5}}}), &["limits.a", "kind"]),
        (json!({"limits": {"a": {"kind": "concurrency"}}}), &["limits.a", "quota"]),
        (json!({"limits": {"a": null}}), &["limits.a"]),
    ]
}

#[tokio::test]
async fn resources_with_wrong_types_or_values() {
    let (node, before) = node().await;
    let client = &node.client;
    let both = &[Method::PUT, Method::PATCH][..];
    let wrong = wrong_limits().into_iter().chain(wrong_resources());
    let wrong = wrong.map(|(body, words)| (both, body, words));
    let incomplete = incomplete_resources().map(|(body, words)| (&both[..1], body, words));

    for (methods, body, words) in wrong.chain(incomplete) {
        for method in methods {
            let answer =
                client.call(method.clone(), "/v1/resources/r", &[], Some(body.clone())).await;
            answer.problem(400, "bad-request").says(words);
        }
    }

    unchanged(client, &before).await;
}

#[tokio::test]
async fn resources_that_make_no_sense_as_a_whole() {
    let (node, before) = node().await;
    let client = &node.client;
    let limits = |count: usize| {
        let limits =
            (0..count).map(|n| (format!("l{n}"), json!({"kind": "concurrency", "quota": 1})));
        json!({"limits": limits.collect::<serde_json::Map<_, _>>()})
    };

    let one = |limit: Value| json!({"limits": {"a": limit}});
    for (body, words) in [
        (limits(0), &["limits", "1 to 16"][..]),
        (limits(17), &["limits", "1 to 16"]),
        (one(json!({"kind": "rate", "quota": 5})), &["limits.a.window_ms", "required"]),
        (
            one(json!({"kind": "concurrency", "quota": 5, "window_ms": 5})),
            &["limits.a.window_ms", "rate"],
        ),
        (one(json!({"kind": "concurrency", "quota": 5, "burst": 5})), &["limits.a.burst", "rate"]),
        (
            one(json!({"kind": "concurrency", "quota": 5, "true_up": "both"})),
            &["limits.a.true_up", "rate"],
        ),
        (
            one(json!({"kind": "concurrency", "quota": 5, "algorithm": "token_bucket"})),
            &["limits.a.algorithm", "rate"],
        ),
        (
            one(json!({"kind": "rate", "quota": 5, "window_ms": 5, "burst": 5})),
            &["limits.a.burst", "token_bucket"],
        ),
        (
            json!({"limits": concurrency(1), "lease": {"default_ttl_ms": 10, "max_ttl_ms": 5}}),
            &["lease.default_ttl_ms"],
        ),
    ] {
        client
            .put("/v1/resources/r", body.clone())
            .await
            .problem(422, "invalid-resource")
            .says(words);
        let new = client.put("/v1/resources/new", body).await;
        assert_eq!(new.problem(422, "invalid-resource").body["resource"], "new");
    }

    let elsewhere = json!({"placement": "nowhere", "limits": concurrency(1)});
    client
        .put("/v1/resources/new", elsewhere)
        .await
        .problem(422, "invalid-resource")
        .says(&["placement", "local"]);

    unchanged(client, &before).await;
    client.put("/v1/resources/new", limits(16)).await.is(201);
    let more = json!({"limits": {"l16": {"kind": "concurrency", "quota": 1}}});

    client
        .patch("/v1/resources/new", more)
        .await
        .problem(422, "invalid-resource")
        .says(&["limits", "1 to 16"]);
}
