//! What the tests of calls share that are refused at the edge: the log does not grow.

use reqwest::Method;
use serde_json::Value;

use crate::harness::{Answer, Client, Node, concurrency};

pub const ACQUIRE: &str = "/v1/resources/r/acquire";
pub const MONTH_MS: u64 = 2_678_400_000;

/// A node with one resource, and what its group was like then.
pub async fn node() -> (Node, Value) {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    let group = node.client.group().await;
    (node, group)
}

/// Nothing has changed, and nothing was put into the log.
pub async fn unchanged(client: &Client, before: &Value) {
    let after = client.group().await;
    for field in ["applied_index", "last_log_index", "digest"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

pub async fn raw(client: &Client, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    client.raw(method, path, &[("content-type", "application/json")], body.into()).await
}
