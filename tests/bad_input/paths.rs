//! Names, queries, methods and paths.

use reqwest::Method;
use serde_json::json;

use crate::calls::{ACQUIRE, node, unchanged};
use crate::harness::concurrency;

#[tokio::test]
async fn names() {
    let (node, before) = node().await;
    let client = &node.client;
    let long = "x".repeat(257);

    for name in ["a%252Fb", "a%20b", "a%00", "%C3%A9", "a%3Fb", "a%25", &long] {
        let path = format!("/v1/resources/{name}");
        let body = json!({"limits": concurrency(1)});
        for answer in [
            client.put(&path, body.clone()).await,
            client.patch(&path, json!({})).await,
            client.get(&path).await,
            client.delete(&path).await,
            client.post(&format!("{path}/acquire"), json!({})).await,
            client.get(&format!("{path}/stats")).await,
            client.get(&format!("{path}/leases")).await,
        ] {
            answer.problem(400, "bad-request").says(&["resource name", "1 to 256 characters"]);
        }
    }

    // Not UTF-8 at all.
    for path in ["/v1/resources/%FF", "/v1/resources/a%C3/stats"] {
        client.get(path).await.problem(400, "bad-request").says(&["UTF-8"]);
    }

    client
        .post("/v1/resources//acquire", json!({}))
        .await
        .problem(400, "bad-request")
        .says(&["1 to 256 characters"]);
    unchanged(client, &before).await;
}

#[tokio::test]
async fn queries() {
    let (node, before) = node().await;
    let client = &node.client;
    let long = format!("/v1/resources?cursor={}", "x".repeat(257));

    for (path, words) in [
        ("/v1/resources?limits=5", &["limits", "limit", "cursor"][..]),
        ("/v1/resources?limit=0", &["limit", "1 to 1000"]),
        ("/v1/resources?limit=1001", &["limit", "1 to 1000"]),
        ("/v1/resources?limit=-1", &["limit"]),
        ("/v1/resources?limit=x", &["limit"]),
        ("/v1/resources?limit=1&limit=2", &["limit"]),
        ("/v1/resources?limit=99999999999999999999", &["limit"]),
        ("/v1/resources?cursor=%20", &["cursor"]),
        ("/v1/resources?cursor=a%20b", &["cursor"]),
        (&long, &["cursor"]),
        ("/v1/resources/r/leases?state=ended", &["state", "waiting", "held"]),
        ("/v1/resources/r/leases?stat=held", &["stat", "state"]),
        ("/v1/resources/r/leases?limit=0", &["limit", "1 to 1000"]),
        ("/v1/resources/r/leases?cursor=x", &["cursor"]),
        ("/v1/resources/r/leases?cursor=held.x", &["cursor"]),
        ("/v1/resources/r/leases?cursor=held.1.2", &["cursor"]),
        ("/v1/resources/r/leases?cursor=waiting.256.1", &["cursor"]),
        // A page of another list.
        ("/v1/resources/r/leases?state=waiting&cursor=held.1", &["cursor"]),
        ("/v1/resources/r/leases?state=held&cursor=waiting.5.1", &["cursor"]),
    ] {
        client.get(path).await.problem(400, "bad-request").says(words);
    }

    unchanged(client, &before).await;
}

#[tokio::test]
async fn methods_and_paths() {
    let (node, before) = node().await;
    let client = &node.client;
    for (method, path, allowed) in [
        (Method::POST, "/v1/resources", "GET"),
        (Method::POST, "/v1/resources/r", "PUT"),
        (Method::GET, ACQUIRE, "POST"),
        (Method::PUT, ACQUIRE, "POST"),
        (Method::DELETE, "/v1/leases/local.00000000000000000000", "GET"),
        (Method::GET, "/v1/leases/local.00000000000000000000/release", "POST"),
        (Method::DELETE, "/v1/cluster", "GET"),
        (Method::OPTIONS, "/healthz", "GET"),
    ] {
        let answer = client.call(method, path, &[], None).await;
        answer.problem(405, "method-not-allowed");
        assert!(
            answer.header("allow").is_some_and(|allow| allow.contains(allowed)),
            "{}: {:?}",
            answer.call,
            answer.headers
        );
    }

    for path in [
        "/v1",
        "/v1/",
        "/v2/resources",
        "/v1/resource",
        "/v1/resources/",
        "/v1/resources/r/",
        "/v1/resources/r/acquire/x",
        "/v1/resources/a/b/acquire",
        "/v1/leases",
        "/v1/leases/",
        "/metrics/",
        "/%FF",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            client
                .call(method, path, &[], None)
                .await
                .problem(404, "not-found")
                .says(&["/openapi.json"]);
        }
    }

    unchanged(client, &before).await;
}
