//! Looking: stats, leases, all of one resource.

use serde_json::{Value, json};

use super::harness::{Node, concurrency};
use super::{against, ended, node, said};

/// The cells of each row of a table.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
async fn stats_show_who_holds_who_waits_and_what_is_used() {
    let node = node().await;
    let client = &node.client;
    client.create("idle", json!({"tpm": {"kind": "rate", "quota": 90, "window_ms": 60000}})).await;
    client.granted("r", json!({"ttl_ms": 600_000})).await;
    client.acquire("r", json!({"wait_ms": 60_000, "hold_ms": 0})).await.is(202);

    let table = ended(&against(client, &["stats"]).await, 0);
    let all = rows(&table);
    assert_eq!(all.len(), 3, "{table}");
    assert_eq!(all[0][..8].join(" "), "RESOURCE HELD WAITING OLDEST LIMIT QUOTA USED REMAINING");
    assert_eq!((all[1][..3].join(" "), all[1][4]), ("idle 0 0".to_owned(), "tpm"), "{table}");
    assert_eq!(
        (all[2][..3].join(" "), all[2][4..8].join(" ")),
        ("r 1 1".to_owned(), "slots 1 1 0".to_owned()),
        "{table}"
    );

    let one = ended(&against(client, &["stats", "r", "--json"]).await, 0);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (&one["r"]["held"], &one["r"]["queue_depth"], one.as_object().unwrap().len()),
        (&json!(1), &json!(1), 1)
    );

    let output = against(client, &["stats", "r", "none"]).await;
    said(&output, 1, &["none: ", "resource-not-found", "1 of 2 could not be shown: none"]);
    assert!(super::text(&output.stdout).contains("slots"), "the other is shown");
}

#[tokio::test]
async fn leases_are_listed_shown_and_released() {
    let node = node().await;
    let client = &node.client;
    let metadata = json!({"job": "42"});
    let first = client
        .granted("r", json!({"ttl_ms": 600_000, "metadata": metadata, "priority": 3}))
        .await
        .id();
    let second = client.acquire("r", json!({"wait_ms": 60_000, "hold_ms": 0})).await.is(202).id();

    let table = ended(&against(client, &["lease", "list", "r"]).await, 0);
    let all = rows(&table);
    assert_eq!(all.len(), 3, "{table}");
    assert_eq!(all[1][..7], [&first, "r", "held", "-", "1", "3", "1"], "{table}");
    assert!(all[1].contains(&"job=42"), "{table}");
    assert_eq!(all[2][..6], [&second, "r", "waiting", "1", "1", "5"], "{table}");
    for (state, id) in [("held", &first), ("waiting", &second)] {
        let list =
            ended(&against(client, &["lease", "list", "r", "--state", state, "--json"]).await, 0);
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        assert_eq!(
            list.iter().map(|lease| lease["id"].as_str().unwrap()).collect::<Vec<_>>(),
            [id]
        );
    }

    let shown = ended(&against(client, &["lease", "get", &first]).await, 0);
    assert_eq!(rows(&shown)[1][..3], [&first, "r", "held"], "{shown}");
    assert_eq!(
        ended(&against(client, &["lease", "release", &second]).await, 0),
        format!("{second}: cancelled\n")
    );
    assert_eq!(
        ended(&against(client, &["lease", "release", &first]).await, 0),
        format!("{first}: released\n")
    );
    assert_eq!(client.stats("r").await["held"], 0);

    let shown = ended(&against(client, &["lease", "get", &first, "--json"]).await, 0);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["id"], &shown["state"]), (&json!(first), &json!("released")));
    let output = against(client, &["lease", "release", &first, "local.1"]).await;
    said(
        &output,
        1,
        &["local.1: ", "lease-not-found", "ratequeue lease list", "1 of 2 could not be released"],
    );
}

#[tokio::test]
async fn a_lease_is_released_with_what_was_used() {
    let node = Node::start().await;
    let client = &node.client;
    client
        .create("t", json!({"tpm": {"kind": "rate", "quota": 100, "window_ms": 3_600_000}}))
        .await;
    let lease = client.granted("t", json!({"load": 30})).await.id();
    let released = ended(&against(client, &["lease", "release", &lease, "--used", "10"]).await, 0);
    assert_eq!(released, format!("{lease}: released, given back tpm=20\n"));
}

#[tokio::test]
async fn more_leases_than_fit_on_a_page_are_listed() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("many", concurrency(1_000)).await;
    let mut acquiring = tokio::task::JoinSet::new();

    for _ in 0..501 {
        let client = client.clone();
        acquiring.spawn(async move { client.granted("many", json!({})).await.id() });
    }

    let mut ids = acquiring.join_all().await;
    ids.sort();
    let list = ended(&against(client, &["lease", "list", "many", "--json"]).await, 0);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let mut listed: Vec<&str> = list.iter().map(|lease| lease["id"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn get_shows_all_of_a_resource() {
    let node = Node::start().await;
    let client = &node.client;
    let resource = json!({
        "limits": {
            "slots": {"kind": "concurrency", "quota": 4},
            "tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 90, "window_ms": 60000, "burst": 20}
        },
        "queue": {"max_waiting": 7, "max_wait_ms": 90_000, "claim_ms": 2_500},
        "lease": {"default_ttl_ms": 30_000, "max_ttl_ms": 7_200_000}
    });
    client.put("/v1/resources/r", resource).await.is(201);
    client.granted("r", json!({"load": 5})).await;

    let shown = ended(&against(client, &["resource", "get", "r"]).await, 0);
    let lines: Vec<String> = rows(&shown).iter().map(|cells| cells.join(" ")).collect();
    for line in [
        "name r",
        "placement local",
        "held 1",
        "waiting 0 of at most 7",
        "longest wait 90s",
        "time to claim 2500ms",
        "time to live 30s, at most 2h",
        "slots concurrency - 4 - - one - 1 3",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line:?} is missing:\n{shown}");
    }
    let version = lines
        .iter()
        .find(|line| line.starts_with("version 1, in effect from log index "))
        .is_some();
    let bucket = lines
        .iter()
        .find(|line| line.starts_with("tpm rate token_bucket 90 1m 20 load both"))
        .is_some();
    assert!(version && bucket, "{shown}");
}
