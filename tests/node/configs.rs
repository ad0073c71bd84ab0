//! Every file in cluster-configs/ can be used as it is.

use std::path::{Path, PathBuf};

use crate::harness::{Start, Tree, concurrency, run};
use serde_json::json;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster-configs")
}

/// A node that is not in it is refused with those that are, so the file was read to its end.
#[tokio::test]
async fn every_file_parses() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "toml"));
    assert!(files.iter().any(|file| file.ends_with("one-node.toml")), "{files:?}");
    for file in files {
        let tree = Tree::new();
        let data = tree.path().join("data");
        let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
        let output = run(&["node", "--cluster", file, "--id", "999999", "--data", data], &[]).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("has no node 999999: it has [1"), "{stderr}");
    }
}

#[tokio::test]
async fn one_node_starts_and_starts_again() {
    let file = folder().join("one-node.toml");
    let mut node =
        Start::with(&["node", "--cluster", file.to_str().unwrap(), "--id", "1"]).run().await;
    let client = node.client.clone();
    client.create("r", concurrency(1)).await;
    let lease = client.granted("r", json!({})).await;

    for kill in [true, false] {
        if kill {
            node.kill().await
        } else {
            node.stop().await
        }
        node.start_again().await;
        assert_eq!(client.lease(&lease.id()).await.is(200).str("state"), "held");
    }

    let group = client.group().await;
    assert_eq!((&group["leader"], &group["voters"]), (&json!(1), &json!([1])));
}
