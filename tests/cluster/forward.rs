//! Any node answers any call: what it cannot decide it passes on, and a call that waits at it
//! outlives the leader.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::harness::{Answer, Client, concurrency, eventually, until};
use crate::turn::Turn;

/// Longer than a place is kept for a caller that is gone, which is 15 s.
const LONG_WAIT: Duration = Duration::from_secs(22);

/// A call that waits at a node.
struct Waiting {
    key: &'static str,
    id: String,
    call: JoinHandle<Result<Answer, reqwest::Error>>,
}

/// Acquires with this key at this node, and stays until it is granted.
fn acquire_and_wait(
    node: &Client,
    key: &'static str,
) -> JoinHandle<Result<Answer, reqwest::Error>> {
    let node = node.clone();
    tokio::spawn(async move {
        let body = json!({"wait_ms": 120_000, "hold_ms": 30_000});
        node.try_call(
            Method::POST,
            "/v1/resources/queue/acquire",
            &[("Idempotency-Key", key)],
            Some(body),
        )
        .await
    })
}

/// A call that is seen to wait, as the last one in the queue.
async fn wait_at(node: &Client, key: &'static str) -> Waiting {
    let before = node.leases("queue", "waiting").await.len();
    let call = acquire_and_wait(node, key);
    let id = eventually("the call is in the queue", || async {
        let waiting = node.leases("queue", "waiting").await;
        (waiting.len() > before).then(|| waiting.last().unwrap()["id"].as_str().unwrap().to_owned())
    })
    .await;
    Waiting { key, id, call }
}

impl Waiting {
    /// The same HTTP call was granted the same lease.
    async fn granted(self) -> String {
        let answer =
            tokio::time::timeout(Duration::from_secs(20), self.call).await.expect("the call ends");
        let answer = answer.unwrap().expect("the call is answered");
        answer.is(200);
        assert_eq!(
            (answer.str("state"), answer.str("id")),
            ("held", self.id.as_str()),
            "key {}",
            self.key
        );
        self.id
    }
}

/// A cluster with a queue, and the lease that all others wait for.
async fn queue() -> (Cluster, String) {
    let cluster = Cluster::formed(3).await;
    cluster.at(1).create("queue", concurrency(1)).await;
    let holder = cluster.at(1).granted("queue", json!({"ttl_ms": 600_000})).await.id();
    (cluster, holder)
}

fn names_leader(answer: &Answer, cluster: &Cluster, leader: u64, asked: u64) {
    assert_eq!(
        answer.header("ratequeue-leader"),
        Some(cluster.node(leader).url().as_str()),
        "{}",
        answer.call
    );
    assert_eq!(
        answer.header("ratequeue-served-by"),
        Some(asked.to_string().as_str()),
        "{}",
        answer.call
    );
}

#[tokio::test]
async fn every_call_is_answered_by_every_node() {
    let _turn = Turn::shared();
    let cluster = Cluster::formed(3).await;
    let leader = cluster.leader().await;
    for asked in 1..=3 {
        let (node, next, last) =
            (cluster.at(asked), cluster.at(asked % 3 + 1), cluster.at((asked + 1) % 3 + 1));
        let name = format!("made-at-{asked}");
        let path = format!("/v1/resources/{name}");
        names_leader(&node.create(&name, concurrency(2)).await, &cluster, leader, asked);
        assert_eq!(next.get(&path).await.is(200).u64("version"), 1);
        let patched = last.patch(&path, json!({"limits": {"slots": {"quota": 3}}})).await;
        assert_eq!(patched.is(200).body["limits"]["slots"]["quota"], 3);
        assert_eq!(node.get(&path).await.is(200).u64("version"), 2);

        let granted = node.granted(&name, json!({"ttl_ms": 60_000})).await;
        names_leader(&granted, &cluster, leader, asked);
        let id = granted.id();
        let seen = next.lease(&id).await;
        assert_eq!(seen.is(200).str("state"), "held");
        names_leader(&seen, &cluster, leader, asked % 3 + 1);
        assert!(
            last.extend(&id, json!({"ttl_ms": 600_000})).await.is(200).u64("expires_in_ms")
                > 60_000
        );
        assert!(node.lease(&id).await.is(200).u64("expires_in_ms") > 60_000);
        let released = next.release(&id).await;
        assert!(released.is(200).log_index() > granted.log_index());
        assert_eq!(last.lease(&id).await.is(200).str("state"), "released");
        assert_eq!(last.delete(&path).await.is(204).status, 204);
        node.get(&path).await.problem(404, "resource-not-found");
    }
    cluster.agree(&[1, 2, 3]).await;
}

#[tokio::test]
async fn the_same_key_is_the_same_lease_at_every_node() {
    let _turn = Turn::shared();
    let cluster = Cluster::formed(3).await;
    cluster.at(2).create("queue", concurrency(5)).await;
    let path = "/v1/resources/queue/acquire";
    let first = cluster.at(1).keyed(path, "same", json!({})).await.is(200).id();

    for asked in [2, 3, 1] {
        let answer = cluster.at(asked).keyed(path, "same", json!({})).await;
        assert_eq!(answer.is(200).id(), first);
        cluster
            .at(asked)
            .keyed(path, "same", json!({"load": 2}))
            .await
            .problem(422, "idempotency-conflict");
    }

    assert_eq!(cluster.at(3).leases("queue", "held").await.len(), 1);
}

#[tokio::test]
async fn a_wait_at_one_follower_ends_with_a_release_at_another() {
    let _turn = Turn::shared();
    let (cluster, holder) = queue().await;
    let (leader, followers) = (cluster.leader().await, cluster.followers().await);
    let first = wait_at(cluster.at(followers[0]), "first").await;
    let second = wait_at(cluster.at(leader), "second").await;
    let third = wait_at(cluster.at(followers[1]), "third").await;
    cluster.at(followers[1]).release(&holder).await.is(200);
    let held = first.granted().await;
    cluster.at(followers[0]).release(&held).await.is(200);
    let held = second.granted().await;
    cluster.at(followers[0]).release(&held).await.is(200);
    third.granted().await;
}

#[tokio::test]
async fn a_caller_at_a_follower_keeps_its_place_for_as_long_as_it_stays() {
    let _turn = Turn::shared();
    let (cluster, holder) = queue().await;
    let followers = cluster.followers().await;
    let begun = Instant::now();

    let stays = [
        wait_at(cluster.at(followers[0]), "one").await,
        wait_at(cluster.at(followers[1]), "two").await,
    ];

    let gone = cluster.at(followers[0]).waiting("queue", json!({})).await.id();
    until(begun + LONG_WAIT).await;
    let node = cluster.at(followers[1]);

    assert_eq!(
        node.lease(&gone).await.is(200).str("state"),
        "cancelled",
        "nobody waits for it any more"
    );

    let waiting: Vec<Value> =
        node.leases("queue", "waiting").await.iter().map(|lease| lease["id"].clone()).collect();
    assert_eq!(waiting, [stays[0].id.as_str(), stays[1].id.as_str()]);
    let mut held = holder;

    for waiting in stays {
        node.release(&held).await.is(200);
        held = waiting.granted().await;
    }
}

#[tokio::test]
async fn a_caller_whose_node_dies_finds_its_place_at_another() {
    let _turn = Turn::shared();
    let (mut cluster, holder) = queue().await;
    let followers = cluster.followers().await;
    let first = wait_at(cluster.at(followers[0]), "first").await;
    let second = wait_at(cluster.at(followers[1]), "second").await;
    let third = wait_at(cluster.at(followers[0]), "third").await;

    cluster.node_mut(followers[0]).kill().await;
    assert!(first.call.await.unwrap().is_err(), "its node is gone");
    assert!(third.call.await.unwrap().is_err(), "its node is gone");
    let node = cluster.at(followers[1]);

    for (key, id, position) in [("third", &third.id, 3), ("first", &first.id, 1)] {
        let body = json!({"wait_ms": 120_000, "hold_ms": 0});
        let again = node.keyed("/v1/resources/queue/acquire", key, body).await;
        assert_eq!((again.is(202).id(), again.u64("position")), (id.clone(), position));
    }

    let again = Waiting { call: acquire_and_wait(node, "third"), ..third };
    node.release(&holder).await.is(200);
    assert_eq!(node.lease(&first.id).await.is(200).str("state"), "held");
    node.release(&first.id).await.is(200);
    let held = second.granted().await;
    node.release(&held).await.is(200);
    again.granted().await;
}

#[tokio::test]
async fn calls_that_wait_at_followers_outlive_the_leader() {
    let _turn = Turn::shared();
    let (mut cluster, holder) = queue().await;
    let (leader, followers) = (cluster.leader().await, cluster.followers().await);
    let first = wait_at(cluster.at(followers[0]), "first").await;
    let second = wait_at(cluster.at(followers[1]), "second").await;
    cluster.node_mut(leader).kill().await;
    cluster.at(followers[0]).release(&holder).await.is(200);
    let held = first.granted().await;
    cluster.at(followers[0]).release(&held).await.is(200);
    second.granted().await;
}
