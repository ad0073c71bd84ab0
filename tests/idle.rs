//! A node with nothing to do does nothing: no measurable CPU, and no log entries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod harness;

use std::time::{Duration, Instant};

use harness::{Node, concurrency, eventually, rate, until};
use serde_json::json;

const MEASURED: Duration = Duration::from_secs(5);
/// 30 ms of the 5 s: less than one in a hundred. A tick is 10 ms.
const TICKS_MAX: u64 = 3;

/// User and system time of a process, in ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name of the process is in parentheses, and may have blanks in it.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn an_idle_node_uses_no_cpu_and_its_log_does_not_grow() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("slots", concurrency(2)).await;
    client.create("tokens", rate(1_000_000, 2_678_400_000)).await;
    for number in 0..100 {
        client.create(&format!("r{number}"), rate(10, 1000)).await;
        let lease = client.granted(&format!("r{number}"), json!({"load": 10})).await;
        client.release(&lease.id()).await.is(200);
        client.granted("tokens", json!({"load": 7, "ttl_ms": 100})).await;
    }
    client.granted("slots", json!({"ttl_ms": 100})).await;
    client.granted("slots", json!({"ttl_ms": 900_000})).await;
    client.granted("slots", json!({"wait_ms": 60_000, "ttl_ms": 900_000})).await;
    let place = client.waiting("slots", json!({})).await;
    client.release(&place.id()).await.is(200);

    eventually("all that was short has expired", || async {
        (client.stats("tokens").await["held"] == 0).then_some(())
    })
    .await;
    // What is still written after the last answer is no part of being idle.
    eventually("the work has come to rest", || async {
        let before = cpu_ticks(node.pid());
        until(Instant::now() + Duration::from_millis(500)).await;
        (cpu_ticks(node.pid()) <= before + 1).then_some(())
    })
    .await;

    let index = client.applied_index().await;
    let before = cpu_ticks(node.pid());
    until(Instant::now() + MEASURED).await;
    let used = cpu_ticks(node.pid()) - before;
    let group = client.group().await;
    assert_eq!(
        (&group["applied_index"], &group["last_log_index"]),
        (&json!(index), &json!(index)),
        "nothing was logged"
    );
    assert!(used <= TICKS_MAX, "{used} ticks of 10 ms in {MEASURED:?}");
}
