//! Content types, idempotency keys and conditions.

use reqwest::Method;
use serde_json::json;

use crate::calls::{ACQUIRE, node, unchanged};
use crate::harness::{Answer, concurrency};

#[tokio::test]
async fn content_types() {
    let (node, before) = node().await;
    let client = &node.client;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
        "json",
        "\u{e9}",
    ] {
        let answer =
            client.raw(Method::POST, ACQUIRE, &[("content-type", kind)], b"{}".to_vec()).await;
        answer.problem(415, "unsupported-media-type").says(&["application/json"]);
    }

    unchanged(client, &before).await;
    client.raw(Method::POST, ACQUIRE, &[], b"{\"load\":1}".to_vec()).await.is(200);
    for kind in
        ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]
    {
        let body = json!({"limits": {"slots": {"quota": 2}}}).to_string().into_bytes();
        client.raw(Method::PATCH, "/v1/resources/r", &[("content-type", kind)], body).await.is(200);
    }
}

/// The problem carries an id that the server has made up, to find the call by.
#[track_caller]
fn has_made_up_id(answer: &Answer) {
    let id = answer.str("request_id");
    assert!(id.starts_with("made-") && id.len() == 37, "{}\nanswered {}", answer.call, answer.text);
}

#[tokio::test]
async fn idempotency_keys() {
    let (node, before) = node().await;
    let client = &node.client;
    let long = "k".repeat(129);

    for key in ["", " ", "two words", "tab\tbed", "\u{e9}", &long] {
        for (method, path) in [
            (Method::POST, ACQUIRE),
            (Method::PUT, "/v1/resources/r"),
            (Method::PATCH, "/v1/resources/r"),
            (Method::DELETE, "/v1/resources/r"),
            (Method::POST, "/v1/leases/local.00000000000000000000/release"),
        ] {
            let answer =
                client.call(method, path, &[("Idempotency-Key", key)], Some(json!({}))).await;
            answer.problem(400, "bad-request").says(&["Idempotency-Key", "1 to 128 visible ASCII"]);
            has_made_up_id(&answer);
        }
    }

    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")];
    let answer = client.call(Method::POST, ACQUIRE, &twice, Some(json!({}))).await;
    answer.problem(400, "bad-request").says(&["Idempotency-Key", "once"]);
    has_made_up_id(&answer);
    unchanged(client, &before).await;
    client.keyed(ACQUIRE, &"~".repeat(128), json!({})).await.is(200);
}

#[tokio::test]
async fn conditions() {
    let (node, before) = node().await;
    let client = &node.client;
    let limits = json!({"limits": concurrency(2)});

    for tag in ["1", "\"a\"", "\"\"", "\"-1\"", "W/\"1\"", "\"1\", \"2\"", "\"1", "", "\u{e9}"] {
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let body = (method != Method::DELETE).then(|| limits.clone());
            let answer = client.call(method, "/v1/resources/r", &[("If-Match", tag)], body).await;
            answer.problem(400, "bad-request").says(&["If-Match", "ETag"]);
        }
    }

    for (headers, words) in [
        (&[("If-None-Match", "\"1\"")][..], &["If-None-Match", "*"][..]),
        (&[("If-None-Match", "")], &["If-None-Match", "*"]),
        (&[("If-None-Match", "*"), ("If-Match", "\"1\"")], &["not both"]),
        (&[("If-Match", "\"1\""), ("If-Match", "\"2\"")], &["if-match", "only one"]),
    ] {
        let answer =
            client.call(Method::PUT, "/v1/resources/r", headers, Some(limits.clone())).await;
        answer.problem(400, "bad-request").says(words);
    }

    unchanged(client, &before).await;
}
