//! A limit that changes while callers come and go: no decision after it follows the old one.

use std::collections::BTreeMap;

use crate::harness::{Client, NodeInside, concurrency, eventually, rate};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CALLERS: usize = 32;
/// Turns that callers take before and after each change.
const TURNS: usize = 300;

/// One lease: at which log entries it was granted and released.
#[derive(Debug, Clone, Copy)]
struct Held {
    granted: u64,
    released: u64,
}

/// Acquires and releases until told to stop.
async fn caller(
    client: Client,
    stop: watch::Receiver<bool>,
    turns: tokio::sync::mpsc::UnboundedSender<Held>,
) {
    while !*stop.borrow() {
        let lease = client.granted("r", json!({"wait_ms": 60_000})).await;
        // Long enough that all slots are in use.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let released = client.release(&lease.id()).await;
        let held = Held { granted: lease.log_index(), released: released.is(200).log_index() };
        turns.send(held).unwrap();
    }
}

async fn set_quota(client: &Client, limit: &str, quota: u64) -> u64 {
    let patched =
        client.patch("/v1/resources/r", json!({"limits": {limit: {"quota": quota}}})).await;
    assert_eq!(patched.is(200).u64("effective_index"), patched.log_index());
    patched.u64("effective_index")
}

/// How many are held after each log entry that grants something.
fn held_after_grants(all: &[Held]) -> BTreeMap<u64, i64> {
    let mut changes: BTreeMap<u64, (i64, bool)> = BTreeMap::new();
    for held in all {
        let granted = changes.entry(held.granted).or_default();
        *granted = (granted.0 + 1, true);
        changes.entry(held.released).or_default().0 -= 1;
    }

    let mut now = 0;
    let mut after = BTreeMap::new();
    for (index, (change, grants)) in changes {
        now += change;
        if grants {
            after.insert(index, now);
        }
    }

    after
}

#[tokio::test]
async fn no_decision_after_the_change_follows_the_old_quota() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(20)).await;
    let (stop, stopped) = watch::channel(false);
    let (send, mut turns) = tokio::sync::mpsc::unbounded_channel();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(caller(client.clone(), stopped.clone(), send.clone()));
    }
    let mut all = Vec::new();
    // From each of these indexes on, at most so many are held.
    let mut quotas = BTreeMap::from([(0, 20)]);
    for quota in [5, 12, 1, 20] {
        for _ in 0..TURNS {
            all.push(turns.recv().await.unwrap());
        }
        quotas.insert(set_quota(client, "slots", quota).await, i64::try_from(quota).unwrap());
    }
    for _ in 0..TURNS {
        all.push(turns.recv().await.unwrap());
    }
    stop.send_replace(true);
    drop(send);
    while let Some(held) = turns.recv().await {
        all.push(held);
    }
    callers.join_all().await;

    // By the index of the change that set the quota: the most that were held under it.
    let mut most: BTreeMap<u64, i64> = BTreeMap::new();
    for (index, held) in held_after_grants(&all) {
        let (since, quota) = quotas.range(..index).next_back().unwrap();
        // At the very index of a change stand decisions before it and decisions after it.
        let allowed = quotas.get(&index).map_or(*quota, |new| *quota.max(new));
        assert!(
            held <= allowed,
            "{held} are held after a grant at {index}, of {allowed} since {since}"
        );
        if !quotas.contains_key(&index) {
            let most = most.entry(*since).or_default();
            *most = held.max(*most);
        }
    }
    assert_eq!(most.len(), quotas.len(), "each quota was followed for a while: {most:?}");
    for (since, quota) in &quotas {
        assert!(most[since] * 2 > *quota, "most of each quota was in use: {most:?} of {quotas:?}");
    }
}

#[tokio::test]
async fn raising_a_quota_grants_the_line_at_once() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(5)).await;
    for _ in 0..5 {
        client.granted("r", json!({})).await;
    }

    let mut line = JoinSet::new();
    for number in 0..20 {
        let waiting = client.clone();
        line.spawn(async move { waiting.acquire("r", json!({"wait_ms": 60_000})).await });
        eventually("it is in the queue", || async {
            (client.stats("r").await["queue_depth"] == number + 1).then_some(())
        })
        .await;
    }

    let order = client.leases("r", "waiting").await;
    let index = set_quota(client, "slots", 20).await;
    let mut granted = Vec::new();

    for _ in 0..15 {
        let answer = line.join_next().await.unwrap().unwrap();
        assert_eq!(answer.is(200).log_index(), index, "granted by the change itself");
        granted.push((answer.u64("fencing_token"), json!(answer.id())));
    }

    granted.sort_unstable_by_key(|(token, _)| *token);
    let first: Vec<&Value> = order.iter().take(15).map(|lease| &lease["id"]).collect();
    assert_eq!(
        granted.iter().map(|(_, id)| id).collect::<Vec<_>>(),
        first,
        "in the order of the queue"
    );

    let stats = client.stats("r").await;
    assert_eq!((&stats["held"], &stats["queue_depth"]), (&json!(20), &json!(5)));
    set_quota(client, "slots", 25).await;
    while let Some(answer) = line.join_next().await {
        answer.unwrap().is(200);
    }
}

#[tokio::test]
async fn a_lowered_rate_counts_what_was_used_before() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", rate(1_000_000, 3_600_000)).await;
    let mut callers = JoinSet::new();
    let (stop, stopped) = watch::channel(false);
    let (send, mut grants) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..CALLERS {
        let (client, stopped, send) = (client.clone(), stopped.clone(), send.clone());
        callers.spawn(async move {
            while !*stopped.borrow() {
                let answer = client.acquire("r", json!({})).await;
                if answer.status == 200 {
                    send.send(answer.log_index()).unwrap();
                } else {
                    answer.problem(429, "limit-exceeded");
                    return;
                }
            }
        });
    }
    drop(send);
    let mut all = Vec::new();
    for _ in 0..TURNS {
        all.push(grants.recv().await.unwrap());
    }
    let index = set_quota(client, "tpm", 100).await;
    // They end when they are refused.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), callers.join_all()).await;
    stop.send_replace(true);
    ended.expect("every caller is refused");
    while let Some(grant) = grants.recv().await {
        all.push(grant);
    }
    assert!(all.iter().all(|grant| *grant <= index), "nothing was granted after {index}");
    assert_eq!(client.stats("r").await["limits"]["tpm"]["used"], all.len());

    // Raised to a little more than was used, it admits exactly that little.
    set_quota(client, "tpm", u64::try_from(all.len()).unwrap() + 3).await;
    for _ in 0..3 {
        client.granted("r", json!({})).await;
    }
    client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
}
