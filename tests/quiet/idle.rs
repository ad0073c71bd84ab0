//! A node with nothing to do does nothing: no log entries, and no CPU that could be measured.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{Client, Node, concurrency, eventually, rate, until};
use serde_json::json;

const MEASURED: Duration = Duration::from_secs(5);
/// What the idle node may use, a debug build too: 1.5 % of a CPU. The same build was seen to take
/// 20 to 40 ms on machines that are alike; how often it wakes up is what tells whether it does
/// nothing.
const CPU_MAX: Duration = Duration::from_millis(75);
/// How often its threads may wake up.
const WAKEUPS_MAX: u64 = 200;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// Time on a CPU, of all threads.
    cpu: Duration,
    /// How often a thread was put on a CPU.
    wakeups: u64,
}

impl Used {
    fn of(node: &Node) -> Self {
        let mut used = Self { cpu: Duration::ZERO, wakeups: 0 };
        for task in fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap() {
            // Nanoseconds on a CPU, nanoseconds of waiting for one, times it got one.
            // A thread may have ended since it was listed.
            let Ok(text) = fs::read_to_string(task.unwrap().path().join("schedstat")) else {
                continue;
            };
            let numbers: Vec<u64> =
                text.split_whitespace().map(|number| number.parse().unwrap()).collect();
            used.cpu += Duration::from_nanos(numbers[0]);
            used.wakeups += numbers[2];
        }
        used
    }

    fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
        }
    }
}

/// Work of every kind: what is left are ended leases, rates that have drained, and one lease that
/// is held for long.
async fn work(client: &Client) {
    client.create("slots", concurrency(2)).await;
    client.create("tokens", rate(1_000_000, 2_678_400_000)).await;
    for number in 0..100 {
        let name = format!("r{number}");
        client.create(&name, rate(10, 1000)).await;
        let lease = client.granted(&name, json!({"load": 10})).await;
        client.release(&lease.id()).await.is(200);
        client.granted("tokens", json!({"load": 7, "ttl_ms": 100})).await;
    }

    client.granted("slots", json!({"ttl_ms": 100})).await;
    client.granted("slots", json!({"ttl_ms": 900_000})).await;
    let waited = client.granted("slots", json!({"wait_ms": 60_000})).await;
    let place = client.waiting("slots", json!({})).await;
    client.release(&place.id()).await.is(200);
    client.release(&waited.id()).await.is(200);

    eventually("all that was short has expired", || async {
        (client.stats("tokens").await["held"] == 0).then_some(())
    })
    .await;
    assert_eq!(client.stats("slots").await["held"], 1);
}

#[tokio::test]
async fn an_idle_node_does_nothing() {
    let _alone = crate::ALONE.lock().await;
    let idle = Node::start().await;
    work(&idle.client).await;
    // What is not counted cannot be too much.
    let worked = Used::of(&idle);
    assert!(worked.wakeups > WAKEUPS_MAX && worked.cpu > Duration::ZERO, "{worked:?}");
    // What is still written after the last answer is no part of being idle.
    eventually("the work has come to rest", || async {
        let before = Used::of(&idle);
        until(Instant::now() + Duration::from_millis(500)).await;
        (Used::of(&idle).since(before).wakeups < WAKEUPS_MAX / 10).then_some(())
    })
    .await;

    let index = idle.client.applied_index().await;
    let before = Used::of(&idle);
    until(Instant::now() + MEASURED).await;
    let used = Used::of(&idle).since(before);
    let group = idle.client.group().await;
    let indexes = (&group["applied_index"], &group["last_log_index"]);
    assert_eq!(indexes, (&json!(index), &json!(index)), "nothing was put into the log");
    assert!(used.cpu <= CPU_MAX && used.wakeups <= WAKEUPS_MAX, "in {MEASURED:?} {used:?}");
    println!("in {MEASURED:?} {used:?}");
}
