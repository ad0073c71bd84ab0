//! The log of a stopped node: every decision, and whether every bound held.

use serde_json::{Value, json};

use super::harness::{Node, run};
use super::{ended, node, said, text};

/// A node that has decided some things and was killed, so that it wrote no checkpoint at the end.
async fn stopped() -> (Node, Vec<String>) {
    let mut node = node().await;
    let client = &node.client;
    let limits = json!({
        "slots": {"kind": "concurrency", "quota": 2},
        "rpm": {"kind": "rate", "quota": 100, "window_ms": 60_000},
        "tokens": {"kind": "rate", "algorithm": "token_bucket", "quota": 60, "window_ms": 60_000, "burst": 50},
    });
    client.create("llm", limits).await;

    let mut ids = Vec::new();
    for load in [30, 10] {
        ids.push(client.granted("llm", json!({"load": load, "ttl_ms": 600_000})).await.id());
    }
    let queued = client.acquire("llm", json!({"load": 5, "wait_ms": 60_000, "hold_ms": 0})).await;
    ids.push(queued.is(202).id());
    client.post(&format!("/v1/leases/{}/release", ids[0]), json!({"used": 20})).await.is(200);
    client.acquire("llm", json!({"load": 1, "wait_ms": 0})).await.is(429);
    client.patch("/v1/resources/llm", json!({"limits": {"rpm": {"quota": 200}}})).await.is(200);
    node.kill().await;
    (node, ids)
}

#[tokio::test]
async fn every_bound_of_a_stopped_node_is_verified() {
    let (node, _) = stopped().await;
    let data = node.data().to_str().unwrap();
    let verified = ended(&run(&["verify-log", "--data", data], &[]).await, 0);
    for line in [
        "Group local: entries",
        "Group global: entries",
        "RESOURCE  LIMIT   RULE            GRANTS  MOST  BOUND  AT ENTRY  RESULT",
    ] {
        assert!(verified.contains(line), "{verified}");
    }
    let rows: Vec<Vec<&str>> = verified
        .lines()
        .filter(|line| line.starts_with("llm"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let seen: Vec<String> =
        rows.iter().map(|row| [&row[1..6], &row[7..]].concat().join(" ")).collect();
    assert_eq!(
        seen,
        [
            "rpm sliding_window 3 40 200 held",
            "slots concurrency 3 2 2 held",
            "tokens token_bucket 3 40 50 held"
        ],
        "{verified}"
    );

    let verdicts = run(&["verify-log", "--data", data, "--json", "--resource", "llm"], &[]).await;
    let verdicts: Value = serde_json::from_str(&ended(&verdicts, 0)).unwrap();
    assert_eq!(verdicts[0]["group"], "local");
    assert_eq!(
        (&verdicts[0]["breaches"], &verdicts[0]["limits"][1]["most"]),
        (&json!(0), &json!(2))
    );
    let none = run(&["verify-log", "--data", data, "--json", "--resource", "other"], &[]).await;
    let none: Value = serde_json::from_str(&ended(&none, 0)).unwrap();
    assert_eq!(none[0]["limits"], json!([]));
}

#[tokio::test]
async fn every_decision_of_a_stopped_node_is_dumped() {
    let (mut node, ids) = stopped().await;
    let data = node.data().to_str().unwrap().to_owned();
    let dump = ["log", "dump", "--data", &data, "--resource", "llm"];
    let dumped = ended(&run(&[&dump[..], &["--json"]].concat(), &[]).await, 0);
    let decisions: Vec<Value> =
        dumped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<(&str, Option<&str>)> = decisions
        .iter()
        .map(|decision| (decision["decision"].as_str().unwrap(), decision["lease"].as_str()))
        .collect();
    let [first, second, third] = [0, 1, 2].map(|n| Some(ids[n].as_str()));
    assert_eq!(
        seen,
        [
            ("limits_changed", None),
            ("granted", first),
            ("granted", second),
            ("queued", third),
            ("ended", first),
            ("granted", third),
            ("refused", None),
            ("limits_changed", None)
        ],
        "{dumped}"
    );
    let ended_one = &decisions[4];
    assert_eq!((&ended_one["state"], &ended_one["debited"]), (&json!("released"), &json!({})));
    assert_eq!(ended_one["refunded"]["rpm"], 10, "{ended_one}");
    assert!(decisions[1]["request"].is_string() && decisions[1]["load"] == 30, "{dumped}");

    let words = ended(&run(&dump, &[]).await, 0);
    assert_eq!(words.lines().count(), decisions.len());
    assert!(words.contains(&format!("granted {}, token 1, after 0 ms", ids[0])), "{words}");

    // Reading it has changed nothing.
    node.start_again().await;
    assert_eq!(node.client.lease(&ids[1]).await.is(200).str("state"), "held");
}

#[tokio::test]
async fn what_is_no_log_of_a_stopped_node_is_told() {
    let mut running = node().await;
    let data = running.data().to_str().unwrap().to_owned();
    said(&run(&["verify-log", "--data", &data], &[]).await, 78, &["in use"]);
    running.stop().await;
    let wrong = ["verify-log", "--data", &data, "--group", "mars"];
    said(&run(&wrong, &[]).await, 2, &["not in the group mars", "local and global"]);

    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let output = run(&["log", "dump", "--data", nowhere.to_str().unwrap()], &[]).await;
    said(&output, 2, &["there is no folder", "data folder of a node"]);
    assert!(!nowhere.exists());
    let empty = run(&["log", "dump", "--data", folder.path().to_str().unwrap()], &[]).await;
    said(&empty, 2, &["is not the data folder of a node"]);
    assert!(text(&empty.stdout).is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
