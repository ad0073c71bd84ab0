//! Bodies, parameters and headers that are refused at the edge: the log does not grow.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Node, concurrency};

const ACQUIRE: &str = "/v1/resources/r/acquire";
const MONTH_MS: u64 = 2_678_400_000;

/// A node with one resource, and what its group was like then.
async fn node() -> (Node, Value) {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    let group = node.client.group().await;
    (node, group)
}

/// Nothing has changed, and nothing was put into the log.
async fn unchanged(client: &Client, before: &Value) {
    let after = client.group().await;
    for field in ["applied_index", "last_log_index", "digest"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

async fn raw(client: &Client, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    client.raw(method, path, &[("content-type", "application/json")], body.into()).await
}

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

fn limit(field: &str, value: Value) -> Value {
    let mut limit =
        json!({"kind": "rate", "algorithm": "token_bucket", "quota": 5, "window_ms": 1000});
    limit[field] = value;
    json!({"limits": {"tpm": limit}})
}

#[tokio::test]
async fn resources_with_wrong_types_or_values() {
    let (node, before) = node().await;
    let client = &node.client;
    let with = |field: &str, value: Value| {
        let mut resource = json!({"limits": concurrency(1)});
        resource[field] = value;
        resource
    };

    let both = &[Method::PUT, Method::PATCH][..];
    for (methods, body, words) in [
        (both, limit("quota", json!(0)), &["limits.tpm.quota", "1 to 9007199254740992"][..]),
        (both, limit("quota", json!(-5)), &["limits.tpm.quota", "1 to 9007199254740992"]),
        (both, limit("quota", json!(1.5)), &["limits.tpm.quota", "whole number"]),
        (both, limit("quota", json!("5")), &["limits.tpm.quota", "whole number"]),
        (
            both,
            limit("quota", json!(9_007_199_254_740_993_u64)),
            &["limits.tpm.quota", "9007199254740992"],
        ),
        (both, limit("window_ms", json!(0)), &["limits.tpm.window_ms", "1 to 2678400000"]),
        (
            both,
            limit("window_ms", json!(MONTH_MS + 1)),
            &["limits.tpm.window_ms", "1 to 2678400000"],
        ),
        (both, limit("burst", json!(0)), &["limits.tpm.burst", "1 to 9007199254740992"]),
        (both, limit("kind", json!("speed")), &["limits.tpm.kind", "rate", "concurrency"]),
        (
            both,
            limit("algorithm", json!("leaky")),
            &["limits.tpm.algorithm", "sliding_window", "token_bucket"],
        ),
        (both, limit("true_up", json!("never")), &["limits.tpm.true_up", "debit_only"]),
        (both, limit("cost", json!("Load")), &["limits.tpm.cost", "one, load"]),
        (both, limit("cost", json!("line")), &["limits.tpm.cost", "one, load"]),
        (both, limit("cost", json!(1)), &["limits.tpm.cost", "string"]),
        (both, limit("qouta", json!(1)), &["qouta", "quota", "window_ms"]),
        (both, with("limit", json!({})), &["limit", "limits", "queue", "lease"]),
        (
            both,
            with("limits", json!({"TPM": concurrency(1)["slots"]})),
            &["limits.TPM", "a-z 0-9 _"],
        ),
        (
            both,
            with("limits", json!({"one": concurrency(1)["slots"]})),
            &["limits.one", "not be one"],
        ),
        (
            both,
            with("limits", json!({"x".repeat(33): concurrency(1)["slots"]})),
            &["limits.xxx", "1 to 32"],
        ),
        (both, with("limits", json!([])), &["limits", "an object"]),
        (both, with("placement", json!(1)), &["placement", "string"]),
        (
            both,
            with("queue", json!({"max_waiting": 1_000_001})),
            &["queue.max_waiting", "0 to 1000000"],
        ),
        (both, with("queue", json!({"max_waiting": -1})), &["queue.max_waiting", "0 to 1000000"]),
        (
            both,
            with("queue", json!({"max_wait_ms": MONTH_MS + 1})),
            &["queue.max_wait_ms", "0 to 2678400000"],
        ),
        (both, with("queue", json!({"max": 1})), &["max", "max_waiting"]),
        (both, with("lease", json!({"max_ttl_ms": 0})), &["lease.max_ttl_ms", "1 to 2678400000"]),
        (
            both,
            with("lease", json!({"max_ttl_ms": MONTH_MS + 1})),
            &["lease.max_ttl_ms", "1 to 2678400000"],
        ),
        (
            both,
            with("lease", json!({"default_ttl_ms": 0})),
            &["lease.default_ttl_ms", "1 to 2678400000"],
        ),
        (&both[..1], json!({}), &["limits"]),
        (&both[..1], json!({"limits": {"a": {"quota": 5}}}), &["limits.a", "kind"]),
        (&both[..1], json!({"limits": {"a": {"kind": "concurrency"}}}), &["limits.a", "quota"]),
        (&both[..1], json!({"limits": {"a": null}}), &["limits.a"]),
    ] {
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
