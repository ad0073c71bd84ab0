//! The description of the API: as it is checked in, and with every call and code.

use std::path::Path;

use crate::harness::NodeInside;
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

#[tokio::test]
async fn the_description_is_the_checked_in_one() {
    let node = NodeInside::start().await;
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
    let node = NodeInside::start().await;
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
