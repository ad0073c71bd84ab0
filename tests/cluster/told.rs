//! What nodes tell of where they are, and that the others hear of it: by flags, and over IPv6.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::id as process_id;

use serde_json::{Value, json};

use crate::addresses::Place;
use crate::cluster::{Cluster, REGION, done};
use crate::harness::{concurrency, eventually};
use crate::turn::Turn;

/// The first of six ports of this process, for tests that share an address with those of other
/// processes.
fn first_port() -> u64 {
    u64::from(process_id() % 1_500) * 6
}

/// What a node says of where another one is: HTTP and peer.
async fn told(cluster: &Cluster, by: u64, of: u64) -> Option<[String; 2]> {
    let view = cluster.node(by).try_get("/v1/cluster").await?.body;
    let nodes = view["regions"][REGION]["nodes"].as_array()?.clone();
    let node = nodes.into_iter().find(|node| node["id"] == of)?;
    let text = |field: &Value| field.as_str().map(str::to_owned);
    Some([text(&node["http"])?, text(&node["peer"])?])
}

/// A node is started with other addresses than the file has, and each node hears of it from the
/// node itself. A change of members that is under way with it goes on.
#[tokio::test]
async fn a_node_tells_the_others_where_it_is() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    let moved = cluster.follower().await;
    let place = cluster.node(moved).place;
    let (http, peer) = (format!("localhost:{}", place.http.port()), format!("{}", place.peer));

    cluster.node_mut(moved).stop().await;
    cluster.node_mut(moved).args =
        ["--advertise-http", &http, "--advertise-peer", &peer].map(str::to_owned).into();
    cluster.node_mut(moved).start().await;
    let expected = [format!("http://{http}"), peer];
    for by in 1..=3 {
        let is_told = || async { (told(&cluster, by, moved).await? == expected).then_some(()) };
        eventually(&format!("node {by} has heard of it"), is_told).await;
    }

    // The file says otherwise, and changes nothing: neither a repeated init nor the others speak
    // for the node.
    done(&cluster.cli(&["init"]).await);
    for by in 1..=3 {
        assert_eq!(told(&cluster, by, moved).await.unwrap(), expected);
    }

    // Without the flags the file counts again.
    cluster.node_mut(moved).stop().await;
    cluster.node_mut(moved).args.clear();
    cluster.node_mut(moved).start().await;
    let expected = [format!("http://{}", place.http), place.peer.to_string()];
    for by in 1..=3 {
        let is_told = || async { (told(&cluster, by, moved).await? == expected).then_some(()) };
        eventually(&format!("node {by} has heard of it"), is_told).await;
    }
}

/// A peer address at which it does not answer is not written down, and the node says so.
#[tokio::test]
async fn an_address_at_which_a_node_does_not_answer_is_not_told() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    let moved = cluster.follower().await;
    let mut nobody = cluster.node(moved).place.peer;
    nobody.set_port(nobody.port() + 5_000);
    cluster.node_mut(moved).stop().await;
    cluster.node_mut(moved).args = vec!["--advertise-peer".to_owned(), nobody.to_string()];
    cluster.node_mut(moved).start().await;

    let why = format!("node {moved} does not answer at its peer address {nobody}");
    eventually("it says why", || async { cluster.node(moved).log().contains(&why).then_some(()) })
        .await;
    let leader = cluster.leader().await;
    let known = [cluster.node(moved).url(), cluster.node(moved).place.peer.to_string()];
    assert_eq!(told(&cluster, leader, moved).await.unwrap(), known);
    cluster.node(moved).ready().await;
}

/// Three nodes on the loopback of IPv6, which is one address for all.
#[tokio::test]
async fn a_cluster_over_ipv6_goes_on_without_its_leader() {
    let _turn = Turn::shared();
    let ip = IpAddr::from(Ipv6Addr::LOCALHOST);
    let first = first_port();
    let nodes = (1..=3).map(|id| (id, REGION.to_owned(), Place::of(first + id, ip), None));
    let mut cluster = Cluster::of("test", ip, nodes.collect());
    cluster.start().await;
    cluster.init().await;
    cluster.at(1).create("r", concurrency(10)).await;
    let lease = cluster.at(2).granted("r", json!({"ttl_ms": 600_000})).await.id();

    let leader = cluster.leader().await;
    assert!(cluster.node(leader).url().starts_with("http://[::1]:"));
    for id in 1..=3 {
        let answer = cluster.at(id).lease(&lease).await;
        assert_eq!(
            answer.is(200).header("ratequeue-leader"),
            Some(cluster.node(leader).url().as_str())
        );
    }
    let status = done(&cluster.cli(&["status"]).await);
    assert!(status.contains(REGION), "{status}");

    cluster.node_mut(leader).kill().await;
    let request = serde_json::from_value(json!({})).unwrap();
    let granted = cluster.client().acquire("r", &request, "over-ipv6", |_| {}).await;
    assert!(granted.is_ok(), "{granted:?}");
    cluster.node_mut(leader).start().await;
    cluster.agree(&[1, 2, 3]).await;
}

/// A call goes from one region to the other by name, and the answer names the leader there.
#[tokio::test]
async fn regions_reach_each_other_by_name() {
    let _turn = Turn::shared();
    let (ip, first) = (IpAddr::from(Ipv4Addr::LOCALHOST), first_port() + 3);
    let node = |id, region: &str| (id, region.to_owned(), Place::of(first + id, ip), None);
    let mut cluster = Cluster::of("test", ip, vec![node(1, "eu"), node(2, "us")]);
    let text = fs::read_to_string(&cluster.file).unwrap();
    fs::write(&cluster.file, text.replace("127.0.0.1", "localhost")).unwrap();
    cluster.start().await;
    cluster.init().await;

    let there = json!({"placement": "us", "limits": concurrency(1)});
    cluster.at(1).put("/v1/resources/there", there).await.is(201);
    let granted = cluster.at(1).granted("there", json!({})).await;
    let leader = format!("http://localhost:{}", cluster.node(2).place.http.port());
    assert_eq!(granted.header("ratequeue-leader"), Some(leader.as_str()));
}
