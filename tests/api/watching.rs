//! The API's part on watching: stats, the cluster, health, metrics, the description, and what
//! frames every answer.

use std::path::Path;

use crate::harness::{Node, concurrency, eventually, rate};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Every code of the contract.
const CODES: [&str; 26] = [
    "bad-request",
    "unauthenticated",
    "forbidden",
    "resource-not-found",
    "lease-not-found",
    "not-found",
    "method-not-allowed",
    "placement-conflict",
    "lease-not-held",
    "lease-expired",
    "lease-ended",
    "resource-deleted",
    "version-conflict",
    "body-too-large",
    "unsupported-media-type",
    "load-exceeds-capacity",
    "idempotency-conflict",
    "invalid-resource",
    "limit-exceeded",
    "queue-full",
    "wait-timeout",
    "too-many-requests",
    "no-quorum",
    "unknown-outcome",
    "shutting-down",
    "storage-full",
];
const MONTH_MS: u64 = 2_678_400_000;

#[tokio::test]
async fn stats_show_how_a_resource_stands() {
    let node = Node::start().await;
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
            "tpm": {"quota": 10, "used": 0, "remaining": 10, "utilization": 0.0},
            "slots": {"quota": 8, "used": 0, "remaining": 8, "utilization": 0.0}
        },
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
    let tpm = json!({"quota": 10, "used": 9, "remaining": 1, "utilization": 0.9});
    let slots = json!({"quota": 8, "used": 5, "remaining": 3, "utilization": 0.625});
    assert_eq!(stats["limits"], json!({"tpm": tpm, "slots": slots}));
    client.get("/v1/resources/unknown/stats").await.problem(404, "resource-not-found");
}

#[tokio::test]
async fn stats_show_the_last_seconds() {
    let node = Node::start().await;
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
async fn the_oldest_wait_is_the_one_of_the_longest_in_line() {
    let node = Node::start().await;
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

#[tokio::test]
async fn the_cluster_view_shows_regions_nodes_and_groups() {
    let node = Node::start().await;
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
    let node = Node::start().await;
    assert_eq!(node.client.get("/healthz").await.is(200).text, "alive\n");
    assert_eq!(node.client.get("/readyz").await.is(200).text, "ready\n");
}

/// The samples of a metric: labels and value.
fn samples<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']));
    lines
        .map(|rest| {
            rest.rsplit_once(' ').map(|(labels, value)| (labels, value.parse().unwrap())).unwrap()
        })
        .collect()
}

fn sample(text: &str, name: &str, labels: &[&str]) -> f64 {
    let found: Vec<_> = samples(text, name)
        .into_iter()
        .filter(|(all, _)| labels.iter().all(|label| all.contains(label)))
        .collect();
    assert_eq!(found.len(), 1, "{name} {labels:?} in:\n{text}");
    found[0].1
}

#[tokio::test]
async fn metrics_have_their_names_and_no_ids() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(2)).await;
    let held = client.keyed("/v1/resources/r/acquire", "secret-key", json!({})).await;
    client.granted("r", json!({})).await;
    client.waiting("r", json!({})).await;

    client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
    let metrics = eventually("both grants are counted", || async {
        let answer = client.get("/metrics").await;
        let granted =
            samples(&answer.text, "ratequeue_acquires_total").iter().any(|(_, n)| *n == 2.0);
        granted.then_some(answer)
    })
    .await;

    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    let text = &metrics.text;
    let r = "resource=\"r\"";
    assert_eq!(sample(text, "ratequeue_acquires_total", &[r, "outcome=\"granted\""]), 2.0);
    assert_eq!(sample(text, "ratequeue_acquires_total", &[r, "outcome=\"refused\""]), 1.0);
    assert_eq!(sample(text, "ratequeue_queue_depth", &[r]), 1.0);

    assert_eq!(sample(text, "ratequeue_held", &[r]), 2.0);
    assert_eq!(sample(text, "ratequeue_utilization_ratio", &[r, "limit=\"slots\""]), 1.0);
    assert_eq!(sample(text, "ratequeue_acquire_wait_seconds_count", &[]), 2.0);
    assert!(!samples(text, "ratequeue_acquire_wait_seconds_bucket").is_empty());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(line.starts_with("ratequeue_"), "{line}");
    }

    for id in [held.id(), "secret-key".to_owned()] {
        let tail = id.trim_start_matches("local.");
        assert!(!text.contains(tail), "an id is in the metrics");
    }

    // What is gone does not linger.
    client.delete("/v1/resources/r").await.is(204);
    eventually("the resource is gone from the metrics", || async {
        (!client.get("/metrics").await.text.contains(r)).then_some(())
    })
    .await;
}

/// Creates resources, many at once.
async fn create_all(node: &Node, names: &[String]) {
    for names in names.chunks(50) {
        join_all(names.iter().map(|name| node.client.create(name, concurrency(1)))).await;
    }
}

/// The metrics, once this sample is among them.
async fn metrics_with(node: &Node, name: &str, labels: &[&str]) -> String {
    eventually(&format!("{name} has {labels:?}"), || async {
        let text = node.client.get("/metrics").await.is(200).text.clone();
        let found = samples(&text, name)
            .iter()
            .any(|(all, _)| labels.iter().all(|label| all.contains(label)));
        found.then_some(text)
    })
    .await
}

#[tokio::test]
async fn metrics_show_the_busiest_resources_and_say_how_many_they_leave_out() {
    let node = Node::start().await;
    let client = &node.client;
    let idle: Vec<String> = (0..1_004).map(|n| format!("idle-{n:04}")).collect();
    create_all(&node, &idle).await;
    client.create("zzz-busy", concurrency(1)).await;
    client.granted("zzz-busy", json!({})).await;
    let busy = "resource=\"zzz-busy\"";
    let text =
        metrics_with(&node, "ratequeue_acquires_total", &[busy, "outcome=\"granted\""]).await;

    // The busy one is there, in counters and gauges, and the rest by name.
    for (name, outcome) in
        [("ratequeue_acquires_total", "granted"), ("ratequeue_leases_ended_total", "expired")]
    {
        sample(&text, name, &[busy, &format!("outcome=\"{outcome}\"")]);
    }
    assert_eq!(sample(&text, "ratequeue_held", &[busy]), 1.0);
    assert_eq!(sample(&text, "ratequeue_queue_depth", &["resource=\"idle-0000\""]), 0.0);
    let other = "resource=\"(other)\"";
    assert_eq!(samples(&text, "ratequeue_held").len(), 1_000 + 1);
    assert_eq!(sample(&text, "ratequeue_held", &[other]), 0.0);
    assert_eq!(sample(&text, "ratequeue_metrics_resources_left_out", &["group=\"local\""]), 5.0);
    assert_eq!(sample(&text, "ratequeue_metrics_resources_left_out", &["group=\"global\""]), 0.0);

    // It stays when as many others as there is room for, with earlier names, become active too.
    for names in idle.chunks(50) {
        join_all(names.iter().map(|name| client.granted(name, json!({})))).await;
        client.acquire("zzz-busy", json!({})).await.problem(429, "limit-exceeded");
    }
    let granted = "outcome=\"granted\"";
    let sum = |text: &str, name: &str, label: &str| -> f64 {
        samples(text, name).into_iter().filter(|(all, _)| all.contains(label)).map(|(_, n)| n).sum()
    };
    let text = eventually("every grant is counted", || async {
        let text = client.get("/metrics").await.is(200).text.clone();
        (sum(&text, "ratequeue_acquires_total", granted) == 1_005.0).then_some(text)
    })
    .await;
    assert_eq!(sample(&text, "ratequeue_acquires_total", &[busy, granted]), 1.0);
    assert_eq!(sample(&text, "ratequeue_acquires_total", &[other, granted]), 5.0);
    assert_eq!(samples(&text, "ratequeue_acquires_total").len(), 5 * (1_000 + 1));
    assert_eq!(samples(&text, "ratequeue_held").len(), 1_000 + 1);
    assert_eq!(sum(&text, "ratequeue_held", ""), 1_005.0);
}

#[tokio::test]
async fn the_description_is_the_checked_in_one() {
    let node = Node::start().await;
    let served = node.client.get("/openapi.json").await;
    assert_eq!(served.is(200).header("content-type"), Some("application/json"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap();
    assert!(served.text == checked_in, "docs/openapi.json is not what the types say: run make fix");
    assert!(served.str("openapi").starts_with("3.1."), "{}", served.str("openapi"));
    assert!(served.body["info"]["title"].as_str().is_some_and(|title| title == "RateQueue"));
}

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_description_has_every_call_of_the_contract() {
    let node = Node::start().await;
    let description = node.client.get("/openapi.json").await.body;
    for (path, methods) in [
        ("/v1/resources", &["get"][..]),
        ("/v1/resources/{name}", &["get", "put", "patch", "delete"]),
        ("/v1/resources/{name}/acquire", &["post"]),
        ("/v1/resources/{name}/leases", &["get"]),
        ("/v1/resources/{name}/stats", &["get"]),
        ("/v1/leases/{id}", &["get"]),
        ("/v1/leases/{id}/release", &["post"]),
        ("/v1/leases/{id}/extend", &["post"]),
        ("/v1/cluster", &["get"]),
        ("/healthz", &["get"]),
        ("/readyz", &["get"]),
        ("/metrics", &["get"]),
    ] {
        for method in methods {
            let operation = &description["paths"][path][method];
            assert!(operation["responses"].is_object(), "{method} {path}");
            let parameters: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            for (placeholder, _) in path.match_indices('{') {
                let name = path[placeholder + 1..].split('}').next().unwrap();
                assert!(parameters.contains(&name), "{method} {path} does not describe {name}");
            }
            if matches!(*method, "post" | "put" | "patch" | "delete") {
                assert!(
                    parameters.contains(&"Idempotency-Key"),
                    "{method} {path} does not describe Idempotency-Key"
                );
            }
        }
    }

    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(!found.is_empty());

    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }

    // What counts when a field is left out.
    let hold = &description["components"]["schemas"]["AcquireRequest"]["properties"]["hold_ms"];
    assert_eq!((&hold["default"], &hold["maximum"]), (&json!(20_000), &json!(30_000)));

    // The one enum of codes is there, as they stand in bodies.
    let codes = description["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
    for code in CODES {
        assert!(codes.contains(&json!(code)), "{code} is not among {codes:?}");
    }
}

#[tokio::test]
async fn every_answer_says_who_served_it_and_who_leads() {
    let node = Node::start().await;
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
    let node = Node::start().await;
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
