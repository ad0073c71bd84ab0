//! Strangers at the port where nodes talk to each other: they get nothing, and stand in nobody's
//! way.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::harness::{concurrency, eventually};
use crate::load::{Limits, Load};
use crate::turn::Turn;

const LIMITS: Limits = Limits { slots: 5, rate: 50, window: Duration::from_millis(50) };
const FLOOD: usize = 100;

/// A stranger's connection to a node.
async fn stranger(cluster: &Cluster, id: u64) -> TcpStream {
    TcpStream::connect(cluster.node(id).place.peer).await.unwrap()
}

/// Sends this, and waits until the node has closed the connection; how much it sent before.
async fn refused(cluster: &Cluster, id: u64, bytes: &[u8]) -> usize {
    let mut stream = stranger(cluster, id).await;
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let ended =
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    // A reset is as good an end as any.
    assert!(
        ended.is_ok(),
        "node {id} keeps a connection that sent {} bytes of garbage",
        bytes.len()
    );
    answer.len()
}

#[tokio::test]
async fn garbage_at_the_peer_port_changes_nothing() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    cluster.at(1).create("work", LIMITS.json()).await;
    let load = Load::start(&cluster.urls([1, 2, 3]), "work", 8);
    load.goes_on(20).await;
    let begun = Instant::now();
    let noise: Vec<u8> =
        (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let length = [&u32::MAX.to_le_bytes()[..], &[0; 64]].concat();
    for id in 1..=3 {
        for bytes in [&noise[..], &length, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[0; 64], b"RQ"] {
            assert!(
                refused(&cluster, id, bytes).await < 2_048,
                "it answers a stranger at most with a refusal"
            );
        }
    }
    load.goes_on(20).await;

    // Connections that say nothing, and stay.
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        for id in 1..=3 {
            flood.push(stranger(&cluster, id).await);
        }
    }
    load.goes_on(20).await;
    let follower = cluster.follower().await;
    cluster.node_mut(follower).kill().await;
    cluster.node_mut(follower).start().await;
    cluster.node(follower).ready().await;
    cluster.caught_up(follower).await;
    load.goes_on(20).await;
    drop(flood);

    let story = load.stop().await;
    println!(
        "garbage: {} grants, longest gap {:.0?}",
        story.grants.len(),
        story.longest_gap(begun, Instant::now())
    );
    story.nothing_failed();
    story.kept(LIMITS);
    cluster.agree(&[1, 2, 3]).await;
}

#[tokio::test]
async fn a_node_of_another_cluster_cannot_connect() {
    let _turn = Turn::shared();
    let mut ours = Cluster::formed(3).await;
    let mut theirs = Cluster::formed(3).await;
    let (a, b) = (ours.follower().await, theirs.follower().await);
    // Our node now listens where theirs was: their leader calls it.
    ours.node_mut(a).kill().await;
    theirs.node_mut(b).kill().await;
    let place = theirs.node(b).place.peer.to_string();
    ours.node_mut(a).args = vec!["--peer".to_owned(), place];
    ours.node_mut(a).start().await;
    for nth in 0..20 {
        theirs.at(theirs.leader().await).create(&format!("theirs-{nth}"), concurrency(1)).await;
    }
    let leader = theirs.leader().await;
    eventually("their leader is refused", || async {
        let log = theirs.node(leader).log() + &ours.node(a).log();
        log.contains("another cluster").then_some(())
    })
    .await;
    let seen = ours.at(a).get("/v1/resources").await;
    assert_eq!(seen.is(200).body["items"], json!([]), "nothing of theirs has come");

    ours.node_mut(a).kill().await;
    ours.node_mut(a).args.clear();
    ours.node_mut(a).start().await;
    theirs.node_mut(b).start().await;
    for cluster in [&ours, &theirs] {
        cluster.node(1).ready().await;
        cluster.agree(&[1, 2, 3]).await;
    }
    ours.at(a).get("/v1/resources/theirs-0").await.problem(404, "resource-not-found");
    theirs.at(b).get("/v1/resources/theirs-0").await.is(200);
}
