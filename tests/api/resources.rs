//! The API's part on resources: put, patch, get, list, delete.

use crate::harness::{Answer, Client, NodeInside, concurrency, eventually, rate};
use reqwest::Method;
use serde_json::{Value, json};

const KEY: &str = "Idempotency-Key";

/// The example of the documentation.
fn example() -> Value {
    json!({
        "placement": "local",
        "limits": {
            "rpm": {"kind": "rate", "algorithm": "sliding_window", "quota": 500, "window_ms": 60000, "cost": "one"},
            "tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 90000, "window_ms": 60000, "burst": 90000,
                    "cost": "load", "true_up": "debit_only"},
            "slots": {"kind": "concurrency", "quota": 20, "cost": "one"}
        },
        "queue": {"max_waiting": 100, "max_wait_ms": 5000},
        "lease": {"default_ttl_ms": 1000, "max_ttl_ms": 2000}
    })
}

async fn put_with(client: &Client, name: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    client.call(Method::PUT, &format!("/v1/resources/{name}"), headers, Some(body)).await
}

async fn patch_with(client: &Client, name: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    client.call(Method::PATCH, &format!("/v1/resources/{name}"), headers, Some(body)).await
}

async fn delete_with(client: &Client, name: &str, headers: &[(&str, &str)]) -> Answer {
    client.call(Method::DELETE, &format!("/v1/resources/{name}"), headers, None).await
}

#[tokio::test]
async fn put_creates_then_replaces_and_shows_the_resource() {
    let node = NodeInside::start().await;
    let created = node.client.put("/v1/resources/r", example()).await;
    created.is(201);
    let mut expected = example();
    expected["limits"]["rpm"]["true_up"] = json!("both");
    expected["queue"]["claim_ms"] = json!(5000);
    expected["name"] = json!("r");
    expected["version"] = json!(1);
    expected["effective_index"] = json!(created.log_index());
    assert_eq!(created.body, expected);
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(created.header("content-type"), Some("application/json"));

    let replaced = node.client.put("/v1/resources/r", json!({"limits": concurrency(3)})).await;
    replaced.is(200);
    assert_eq!(replaced.u64("version"), 2);
    assert_eq!(replaced.header("etag"), Some("\"2\""));
    assert!(replaced.log_index() > created.log_index());
    assert_eq!(replaced.u64("effective_index"), replaced.log_index());
    let limits: Vec<&String> = replaced.body["limits"].as_object().unwrap().keys().collect();
    assert_eq!(limits, ["slots"]);
}

#[tokio::test]
async fn what_is_absent_has_its_default() {
    let node = NodeInside::start().await;
    let bucket =
        json!({"kind": "rate", "algorithm": "token_bucket", "quota": 10, "window_ms": 1000});
    let limits = json!({
        "a": {"kind": "rate", "quota": 10, "window_ms": 1000},
        "b": bucket,
        "c": {"kind": "concurrency", "quota": 2}
    });

    let created = node.client.put("/v1/resources/r", json!({"limits": limits})).await;
    created.is(201);
    let limits = &created.body["limits"];
    assert_eq!(limits["a"]["algorithm"], "sliding_window");

    for name in ["a", "b"] {
        assert_eq!(limits[name]["cost"], "load", "{name}");
        assert_eq!(limits[name]["true_up"], "both", "{name}");
    }

    assert_eq!(limits["c"]["cost"], "one");
    assert_eq!(created.body["placement"], "local");
    assert_eq!(
        created.body["queue"],
        json!({"max_waiting": 10000, "max_wait_ms": 60000, "claim_ms": 5000})
    );
    assert_eq!(created.body["lease"], json!({"default_ttl_ms": 60000, "max_ttl_ms": 900_000}));
}

#[tokio::test]
async fn if_none_match_creates_only() {
    let node = NodeInside::start().await;
    let only = [("If-None-Match", "*")];
    put_with(&node.client, "r", &only, json!({"limits": concurrency(1)})).await.is(201);
    let again = put_with(&node.client, "r", &only, json!({"limits": concurrency(2)})).await;
    again.problem(412, "version-conflict");
    assert_eq!(again.body["resource"], "r");
    assert_eq!(node.client.get("/v1/resources/r").await.body["limits"]["slots"]["quota"], 1);
}

#[tokio::test]
async fn if_match_guards_put_patch_and_delete() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let quota = |n: u64| json!({"limits": concurrency(n)});
    let patch = |n: u64| json!({"limits": {"slots": {"quota": n}}});

    put_with(client, "r", &[("If-Match", "\"1\"")], quota(2)).await.is(200);
    put_with(client, "r", &[("If-Match", "\"1\"")], quota(3))
        .await
        .problem(412, "version-conflict");
    patch_with(client, "r", &[("If-Match", "\"2\"")], patch(4)).await.is(200);
    patch_with(client, "r", &[("If-Match", "\"2\"")], patch(5))
        .await
        .problem(412, "version-conflict")
        .says(&["3"]);
    let got = client.get("/v1/resources/r").await;
    assert_eq!((got.u64("version"), &got.body["limits"]["slots"]["quota"]), (3, &json!(4)));

    put_with(client, "none", &[("If-Match", "*")], quota(1)).await.problem(412, "version-conflict");
    put_with(client, "none", &[("If-Match", "\"1\"")], quota(1))
        .await
        .problem(412, "version-conflict");
    put_with(client, "r", &[("If-Match", "*")], quota(1)).await.is(200);
    delete_with(client, "r", &[("If-Match", "\"1\"")]).await.problem(412, "version-conflict");
    delete_with(client, "r", &[("If-Match", "\"4\"")]).await.is(204);
}

#[tokio::test]
async fn get_shows_the_resource_with_its_etag() {
    let node = NodeInside::start().await;
    let created = node.client.put("/v1/resources/r", example()).await;
    let got = node.client.get("/v1/resources/r").await;
    got.is(200);
    assert_eq!(got.body, created.body);
    assert_eq!(got.header("etag"), Some("\"1\""));
    assert_eq!(got.header("ratequeue-log-index"), None, "a read has no index");
    let unknown = node.client.get("/v1/resources/unknown").await;
    unknown.problem(404, "resource-not-found").says(&["unknown"]);
    assert_eq!(unknown.body["resource"], "unknown");
}

#[tokio::test]
async fn patch_is_a_json_merge_patch() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.put("/v1/resources/r", example()).await.is(201);
    let patched =
        client.patch("/v1/resources/r", json!({"limits": {"tpm": {"quota": 120_000}}})).await;
    patched.is(200);
    let mut expected = example();
    expected["limits"]["rpm"]["true_up"] = json!("both");
    expected["queue"]["claim_ms"] = json!(5000);
    expected["limits"]["tpm"]["quota"] = json!(120_000);
    for field in ["placement", "limits", "queue", "lease"] {
        assert_eq!(patched.body[field], expected[field], "{field}");
    }
    assert_eq!((patched.u64("version"), patched.u64("effective_index")), (2, patched.log_index()));
    assert_eq!(patched.header("etag"), Some("\"2\""));

    let change = json!({
        "placement": "local",
        "limits": {"rpm": null, "tpm": {"burst": null, "true_up": null}, "new": {"kind": "concurrency", "quota": 7}},
        "queue": {"max_waiting": 5, "max_wait_ms": null},
        "lease": null
    });
    let patched = client.patch("/v1/resources/r", change).await;
    patched.is(200);
    let limits = patched.body["limits"].as_object().unwrap();
    assert_eq!(limits.keys().collect::<Vec<_>>(), ["new", "slots", "tpm"]);
    assert!(
        limits["tpm"]["burst"].is_null(),
        "the burst follows the quota again: {}",
        limits["tpm"]
    );
    assert_eq!(limits["tpm"]["true_up"], "both");
    assert_eq!(limits["new"], json!({"kind": "concurrency", "quota": 7, "cost": "one"}));
    assert_eq!(
        patched.body["queue"],
        json!({"max_waiting": 5, "max_wait_ms": 60000, "claim_ms": 5000})
    );
    assert_eq!(patched.body["lease"], json!({"default_ttl_ms": 60000, "max_ttl_ms": 900_000}));
    assert_eq!(client.get("/v1/resources/r").await.body, patched.body);
}

#[tokio::test]
async fn a_patch_that_makes_no_sense_changes_nothing() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let created = client.create("r", concurrency(1)).await;
    let last = client.patch("/v1/resources/r", json!({"limits": {"slots": null}})).await;
    last.problem(422, "invalid-resource").says(&["limits", "1 to 16"]);
    let kind =
        client.patch("/v1/resources/r", json!({"limits": {"slots": {"window_ms": 5}}})).await;
    kind.problem(422, "invalid-resource").says(&["limits.slots.window_ms"]);
    let new = client.patch("/v1/resources/r", json!({"limits": {"new": {"quota": 5}}})).await;
    new.problem(422, "invalid-resource").says(&["limits.new.kind"]);
    let unknown =
        client.patch("/v1/resources/unknown", json!({"limits": {"slots": {"quota": 5}}})).await;
    unknown.problem(404, "resource-not-found");
    assert_eq!(client.get("/v1/resources/r").await.body, created.body);
}

#[tokio::test]
async fn placement_cannot_be_changed() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let body = json!({"placement": "global", "limits": concurrency(2)});

    client
        .put("/v1/resources/r", body)
        .await
        .problem(409, "placement-conflict")
        .says(&["lives in local"]);

    let body = json!({"placement": "us-east-1", "limits": concurrency(2)});
    client
        .put("/v1/resources/r", body)
        .await
        .problem(422, "invalid-resource")
        .says(&["one of local, global"]);

    for placement in ["global", "us-east-1"] {
        let body = json!({"placement": placement});
        client
            .patch("/v1/resources/r", body)
            .await
            .problem(409, "placement-conflict")
            .says(&["lives in local"]);
    }

    client
        .put("/v1/resources/r", json!({"placement": "local", "limits": concurrency(2)}))
        .await
        .is(200);
}

#[tokio::test]
async fn lists_page_through_all_resources_in_name_order() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let empty = client.get("/v1/resources").await;
    assert_eq!(empty.is(200).body, json!({"items": [], "next_cursor": null}));

    let names = ["B", "a", "a.1", "a:2", "b", "c-d", "c_d"];
    for name in names.iter().rev() {
        client.create(name, concurrency(1)).await;
    }
    let all = client.get("/v1/resources").await;
    let found = |answer: &Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(found(&all), sorted);
    assert_eq!(all.body["next_cursor"], Value::Null);
    assert_eq!(all.body["items"][0], client.get("/v1/resources/B").await.body, "items are views");

    for limit in [1, 3, 7, 8] {
        let (mut collected, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/v1/resources?limit={limit}{cursor}")).await;
            page.is(200);
            let names = found(&page);
            assert!(!names.is_empty() && names.len() <= limit);
            collected.extend(names);
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(collected, sorted, "in pages of {limit}");
    }
    // What a form sends for a field that was left empty.
    client.get("/v1/resources?limit=100&cursor=").await.is(200);
}

#[tokio::test]
async fn delete_answers_204_and_then_404() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let first = delete_with(client, "r", &[(KEY, "d")]).await;
    first.is(204);
    assert!(first.text.is_empty());
    assert!(first.log_index() > 0);
    delete_with(client, "r", &[(KEY, "d")]).await.is(204);
    delete_with(client, "r", &[]).await.problem(404, "resource-not-found");
    client.get("/v1/resources/r").await.problem(404, "resource-not-found");
    client.get("/v1/resources/r/stats").await.problem(404, "resource-not-found");
    client.get("/v1/resources/r/leases").await.problem(404, "resource-not-found");
    client.acquire("r", json!({})).await.problem(404, "resource-not-found");

    // Under a name that is free again the old key still means the old delete.
    client.create("r", concurrency(1)).await;
    delete_with(client, "r", &[(KEY, "d")]).await.is(204);
    client.get("/v1/resources/r").await.is(200);
}

#[tokio::test]
async fn delete_ends_the_line_and_forgets_the_held() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let held = client.granted("r", json!({})).await;
    let line = client.waiting("r", json!({})).await;
    let open = {
        let client = client.clone();
        tokio::spawn(async move { client.acquire("r", json!({"wait_ms": 60000})).await })
    };
    eventually("two wait", || async {
        (client.stats("r").await["queue_depth"] == 2).then_some(())
    })
    .await;
    client.delete("/v1/resources/r").await.is(204);
    open.await.unwrap().problem(410, "resource-deleted");
    assert_eq!(client.lease(&line.id()).await.is(200).str("state"), "rejected");
    client.release(&held.id()).await.problem(404, "lease-not-found");
    client.lease(&held.id()).await.problem(404, "lease-not-found");

    // Fencing tokens go on rising under the name, and the old lease has no part in the new
    // resource.
    client.create("r", concurrency(1)).await;
    let next = client.granted("r", json!({})).await;
    assert!(next.u64("fencing_token") > held.u64("fencing_token"));
    client.release(&held.id()).await.problem(404, "lease-not-found");
    assert_eq!(client.stats("r").await["held"], 1);
}

#[tokio::test]
async fn repeating_a_change_with_its_key_repeats_the_answer() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let (put, patch) = ([(KEY, "put")], [(KEY, "patch")]);
    let body = json!({"limits": concurrency(1)});
    let change = json!({"limits": {"slots": {"quota": 2}}});

    let created = put_with(client, "r", &put, body.clone()).await;
    let patched = patch_with(client, "r", &patch, change.clone()).await;
    created.is(201);
    patched.is(200);
    for _ in 0..2 {
        let again = put_with(client, "r", &put, body.clone()).await;
        assert_eq!((again.status, &again.body), (201, &created.body));
        let again = patch_with(client, "r", &patch, change.clone()).await;
        assert_eq!((again.status, &again.body), (200, &patched.body));
    }
    assert_eq!(client.get("/v1/resources/r").await.u64("version"), 2);

    let other = json!({"limits": concurrency(9)});
    put_with(client, "r", &put, other).await.problem(422, "idempotency-conflict");
    put_with(client, "s", &put, body.clone()).await.problem(422, "idempotency-conflict");
    patch_with(client, "r", &put, change.clone()).await.problem(422, "idempotency-conflict");
    delete_with(client, "r", &put).await.problem(422, "idempotency-conflict");
    client
        .keyed("/v1/resources/r/acquire", "put", json!({}))
        .await
        .problem(422, "idempotency-conflict");
    client.keyed("/v1/resources/r/acquire", "lease", json!({})).await.is(200);
    put_with(client, "r", &[(KEY, "lease")], body).await.problem(422, "idempotency-conflict");
    assert_eq!(client.get("/v1/resources/r").await.u64("version"), 2);
}

#[tokio::test]
async fn every_name_in_the_grammar_is_allowed() {
    let node = NodeInside::start().await;
    for name in ["A", "0", "a.b_c:d-E9", &"x".repeat(128)] {
        node.client.create(name, rate(1, 1000)).await;
        let got = node.client.get(&format!("/v1/resources/{name}")).await;
        assert_eq!(got.is(200).str("name"), name);
    }
    // The same name, with every character escaped.
    let escaped = node.client.get("/v1/resources/a%2Eb%5Fc%3Ad%2DE9").await;
    assert_eq!(escaped.is(200).str("name"), "a.b_c:d-E9");
}

#[tokio::test]
async fn changing_a_limit_carries_over_what_is_used() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", rate(10, 3_600_000)).await;
    client.granted("r", json!({"load": 6})).await;
    client.patch("/v1/resources/r", json!({"limits": {"tpm": {"quota": 8}}})).await.is(200);
    client.acquire("r", json!({"load": 3})).await.problem(429, "limit-exceeded");
    client.granted("r", json!({"load": 2})).await;
    client.put("/v1/resources/r", json!({"limits": rate(9, 3_600_000)})).await.is(200);
    client.acquire("r", json!({"load": 2})).await.problem(429, "limit-exceeded");
    client.granted("r", json!({"load": 1})).await;
}
