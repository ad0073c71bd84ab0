//! Bodies that are no JSON or too large, and values of calls for leases.

use reqwest::Method;
use serde_json::json;

use crate::calls::{ACQUIRE, MONTH_MS, node, raw, unchanged};

#[tokio::test]
async fn acquires() {
    let (node, before) = node().await;
    let client = &node.client;
    let many = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    let dimensions =
        (0..17).map(|n| (format!("d{n}"), json!(1))).collect::<serde_json::Map<_, _>>();

    for (body, words) in [
        (json!({"waitms": 1}), &["waitms", "wait_ms", "hold_ms", "priority"][..]),
        (json!({"load": -1}), &["load", "0 to 9007199254740992"]),
        (json!({"load": 1.5}), &["load", "whole number"]),
        (json!({"load": 1e3}), &["load", "whole number"]),
        (json!({"load": "1"}), &["load", "whole number"]),
        (json!({"load": null}), &["load", "whole number"]),
        (json!({"load": [1]}), &["load", "whole number"]),
        (json!({"load": true}), &["load", "whole number"]),
        (json!({"load": 9_007_199_254_740_993_u64}), &["load", "9007199254740992"]),
        (json!({"load": {"input": -1}}), &["load", "input", "0 to 9007199254740992"]),
        (json!({"load": {"input": {"deep": 1}}}), &["load", "whole number"]),
        (json!({"load": {"Input": 1}}), &["load", "a-z 0-9 _"]),
        (json!({"load": {"one": 1}}), &["load", "not be one, load, line or queue"]),
        (json!({"load": {"queue": 1}}), &["load", "not be one, load, line or queue"]),
        (json!({"load": {"a": 9_007_199_254_740_992_u64, "b": 1}}), &["load", "sum"]),
        (json!({"load": dimensions}), &["load", "16 dimensions"]),
        (json!({"wait_ms": -1}), &["wait_ms", "0 to 2678400000"]),
        (json!({"wait_ms": MONTH_MS + 1}), &["wait_ms", "0 to 2678400000"]),
        (json!({"wait_ms": "5s"}), &["wait_ms", "whole number"]),
        (json!({"hold_ms": 30001}), &["hold_ms", "0 to 30000"]),
        (json!({"priority": 10}), &["priority", "0 to 9"]),
        (json!({"priority": -1}), &["priority", "0 to 9"]),
        (json!({"ttl_ms": 0}), &["ttl_ms", "1 to 2678400000"]),
        (json!({"ttl_ms": MONTH_MS + 1}), &["ttl_ms", "1 to 2678400000"]),
        (json!({"ttl_ms": 1.0}), &["ttl_ms", "whole number"]),
        (json!({"metadata": {"n": 1}}), &["metadata", "string"]),
        (json!({"metadata": ["a"]}), &["metadata"]),
        (json!({"metadata": many}), &["metadata", "16 pairs"]),
        (json!({"metadata": {"k": "v".repeat(1024)}}), &["metadata", "1024 bytes"]),
        (json!([]), &["invalid"]),
        (json!("x"), &["invalid"]),
        (json!(5), &["invalid"]),
    ] {
        client.acquire("r", body).await.problem(400, "bad-request").says(words);
    }

    unchanged(client, &before).await;
    // What lies just inside the bounds is taken.
    let most = json!({"load": 0, "wait_ms": MONTH_MS, "hold_ms": 30000, "priority": 9, "ttl_ms": MONTH_MS});
    client.acquire("r", most).await.is(200);
}

#[tokio::test]
async fn releases_and_extends() {
    let (node, _) = node().await;
    let client = &node.client;
    let lease = client.granted("r", json!({})).await.id();
    let before = client.group().await;
    let (release, extend) =
        (format!("/v1/leases/{lease}/release"), format!("/v1/leases/{lease}/extend"));

    for (path, body, words) in [
        (&release, json!({"load": 1}), &["load", "used"][..]),
        (&release, json!({"used": -1}), &["used", "0 to 9007199254740992"]),
        (&release, json!({"used": 0.5}), &["used", "whole number"]),
        (&release, json!({"used": 9_007_199_254_740_993_u64}), &["used", "9007199254740992"]),
        (&release, json!({"used": {"A": 1}}), &["used", "a-z"]),
        (&release, json!({"used": [1]}), &["used", "whole number"]),
        (&extend, json!({"ttl": 1}), &["ttl", "ttl_ms"]),
        (&extend, json!({"ttl_ms": 0}), &["ttl_ms", "1 to 2678400000"]),
        (&extend, json!({"ttl_ms": -5}), &["ttl_ms", "1 to 2678400000"]),
        (&extend, json!({"ttl_ms": MONTH_MS + 1}), &["ttl_ms", "1 to 2678400000"]),
    ] {
        client.post(path, body).await.problem(400, "bad-request").says(words);
    }

    client
        .get(&format!("/v1/leases/{lease}?wait_ms=30001"))
        .await
        .problem(400, "bad-request")
        .says(&["wait_ms", "30000"]);

    client
        .get(&format!("/v1/leases/{lease}?wait_ms=-1"))
        .await
        .problem(400, "bad-request")
        .says(&["wait_ms"]);

    client
        .get(&format!("/v1/leases/{lease}?wait=1"))
        .await
        .problem(400, "bad-request")
        .says(&["wait", "wait_ms"]);
    unchanged(client, &before).await;
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let (node, before) = node().await;
    let client = &node.client;
    let deep = |open: &str, levels: usize| format!("{{\"load\":{}", open.repeat(levels));

    for body in [
        b"{".to_vec(),
        b"{\"load\":}".to_vec(),
        b"{\"load\":1} {}".to_vec(),
        b"{\"load\":1}x".to_vec(),
        b"{'load':1}".to_vec(),
        b"load=1".to_vec(),
        b"{\"load\":NaN}".to_vec(),
        b"{\"load\":1,\"load\":2}".to_vec(),
        b"{\"load\":{\"a\":1,\"a\":1}}".to_vec(),
        b"{\"metadata\":{\"k\":\"\xff\xfe\"}}".to_vec(),
        b"\xff\xfe{\x00}\x00".to_vec(),
        b"\x00".to_vec(),
        b" ".to_vec(),
        deep("[", 30_000).into_bytes(),
        deep("{\"a\":", 10_000).into_bytes(),
        format!("{{\"metadata\":{}", "[".repeat(30_000)).into_bytes(),
        format!("{{\"metadata\":{{\"k\":{}", "{\"k\":".repeat(10_000)).into_bytes(),
        "[".repeat(60_000).into_bytes(),
        "{\"limits\":".repeat(5_000).into_bytes(),
    ] {
        for (method, path) in [
            (Method::POST, ACQUIRE),
            (Method::PUT, "/v1/resources/r"),
            (Method::PATCH, "/v1/resources/r"),
        ] {
            raw(client, method, path, body.clone()).await.problem(400, "bad-request");
        }
    }

    let deepest = "[".repeat(100_000);
    raw(client, Method::POST, ACQUIRE, deepest).await.problem(413, "body-too-large");
    unchanged(client, &before).await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let (node, before) = node().await;
    let client = &node.client;
    let text = |bytes: usize| format!("{{\"metadata\":{{\"k\":\"{}\"}}}}", "x".repeat(bytes - 21));
    assert_eq!(text(1000).len(), 1000);

    for (bytes, status, code) in [
        (64 * 1024, 400, "bad-request"),
        (64 * 1024 + 1, 413, "body-too-large"),
        (1024 * 1024, 413, "body-too-large"),
        (8 * 1024 * 1024, 413, "body-too-large"),
    ] {
        for path in [ACQUIRE, "/v1/leases/local.00000000000000000000/release"] {
            raw(client, Method::POST, path, text(bytes)).await.problem(status, code);
        }
        raw(client, Method::PUT, "/v1/resources/r", text(bytes)).await.problem(status, code);
    }

    raw(client, Method::POST, ACQUIRE, text(1024 * 1024)).await.says(&["65536"]);
    unchanged(client, &before).await;
}

/// Of two values with one name only one would count.
#[tokio::test]
async fn names_that_are_there_twice() {
    let (node, before) = node().await;
    let client = &node.client;
    let limit = r#"{"kind":"concurrency","quota":1}"#;
    let resource = format!(r#"{{"limits":{{"a":{limit},"b":{limit},"a":{limit}}}}}"#);

    for (method, path, body, words) in [
        (Method::PUT, "/v1/resources/new", resource.as_str(), &["limits", "a is there twice"][..]),
        (
            Method::PATCH,
            "/v1/resources/r",
            r#"{"limits":{"slots":null,"slots":{"quota":2}}}"#,
            &["limits", "slots", "twice"],
        ),
        (
            Method::PATCH,
            "/v1/resources/r",
            r#"{"limits":{"slots":{"quota":2,"quota":3}}}"#,
            &["limits.slots", "quota"],
        ),
        (
            Method::POST,
            ACQUIRE,
            r#"{"metadata":{"k":"a","k":"b"}}"#,
            &["metadata", "k is there twice"],
        ),
        (Method::POST, ACQUIRE, r#"{"load":{"d":1,"d":2}}"#, &["load", "d is there twice"]),
        (Method::POST, ACQUIRE, r#"{"wait_ms":1,"wait_ms":2}"#, &["duplicate", "wait_ms"]),
    ] {
        raw(client, method, path, body).await.problem(400, "bad-request").says(words);
    }

    unchanged(client, &before).await;
}
