//! Forming a cluster: once, of the nodes it was described with, and never of a node that lost its
//! memory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratequeue_api::client::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, GLOBAL, done, failed, stdout};
use crate::harness::{concurrency, eventually, run};
use crate::load::Load;
use crate::member::Member;
use crate::turn::Turn;

/// The ids of the clusters that the nodes say they are part of.
pub async fn cluster_ids(cluster: &Cluster) -> Vec<Value> {
    let mut ids = Vec::new();
    for member in cluster.running() {
        ids.push(member.client.get("/v1/cluster").await.is(200).body["cluster_id"].clone());
    }
    ids
}

/// All nodes are part of one cluster; which.
pub async fn is_one_cluster(cluster: &Cluster) -> Value {
    let ids = cluster_ids(cluster).await;
    assert!(
        ids.iter().all(|id| id.is_string() && *id == ids[0]),
        "they are not one cluster: {ids:?}"
    );
    ids[0].clone()
}

#[tokio::test]
async fn a_node_that_is_in_no_cluster_says_so() {
    let _turn = Turn::shared();
    let cluster = Cluster::started(3).await;
    let node = cluster.at(2);
    node.get("/healthz").await.is(200);

    node.get("/readyz")
        .await
        .problem(503, "no-quorum")
        .says(&["not part of a cluster", "ratequeue cluster init"]);

    let body = json!({"limits": concurrency(1)});
    node.put("/v1/resources/a", body)
        .await
        .problem(503, "no-quorum")
        .says(&["ratequeue cluster init"]);

    node.acquire("a", json!({})).await.problem(503, "no-quorum");
    node.get("/v1/resources/a").await.problem(503, "no-quorum");
    assert_eq!(cluster_ids(&cluster).await, [Value::Null, Value::Null, Value::Null]);
    let status = cluster.cli(&["status"]).await;
    assert_eq!(status.status.code(), Some(1));

    // In the group of their region, and in the global one.
    assert_eq!(stdout(&status).matches("no cluster").count(), 6, "{}", stdout(&status));
}

#[tokio::test]
async fn forming_a_cluster_twice_forms_it_once() {
    let _turn = Turn::shared();
    let cluster = Cluster::started(3).await;
    let first = done(&cluster.cli(&["init"]).await);
    assert!(first.contains("cluster test (") && first.contains("is formed: 3 nodes"), "{first}");
    let id = is_one_cluster(&cluster).await;
    assert!(first.contains(id.as_str().unwrap()), "{first}");
    cluster.at(3).create("kept", concurrency(1)).await;
    assert_eq!(done(&cluster.cli(&["init"]).await), first);
    assert_eq!(is_one_cluster(&cluster).await, id);
    cluster.at(1).get("/v1/resources/kept").await.is(200);
}

#[tokio::test]
async fn forming_a_cluster_by_several_at_once_forms_one() {
    let _turn = Turn::shared();
    for _ in 0..2 {
        let cluster = Cluster::started(3).await;
        let all = futures::future::join_all((0..4).map(|_| cluster.cli(&["init"]))).await;
        // One may find the others half way; what counts is that nobody makes a second cluster.
        assert!(all.iter().any(|output| output.status.success()), "{all:?}");
        done(&cluster.cli(&["init"]).await);
        is_one_cluster(&cluster).await;
        cluster.at(1).create("works", concurrency(1)).await;
    }
}

#[tokio::test]
async fn a_cluster_is_formed_only_when_all_its_nodes_run() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::described(3);
    cluster.node_mut(1).start().await;
    failed(&cluster.cli(&["init"]).await, 1, &["[2, 3]", "do not answer", "start them first"]);
    assert_eq!(cluster_ids(&cluster).await, [Value::Null]);
    cluster.node_mut(2).start().await;
    cluster.node_mut(3).start().await;
    cluster.init().await;
    is_one_cluster(&cluster).await;
}

/// No node is in a group that has members.
pub async fn is_not_formed(cluster: &Cluster) {
    for member in cluster.running() {
        let view = member.client.get("/v1/cluster").await;
        let groups = view.is(200).body["groups"].as_object().unwrap().clone();
        assert!(groups.values().all(|group| group["voters"] == json!([])), "{}", view.text);
    }
}

/// The cluster's file with other peer addresses: each first one is replaced by the second.
fn file_with(cluster: &Cluster, name: &str, peers: &[(SocketAddr, SocketAddr)]) -> PathBuf {
    let mut text = fs::read_to_string(&cluster.file).unwrap();
    for (nth, (old, _)) in peers.iter().enumerate() {
        text = text.replace(&format!("peer = \"{old}\""), &format!("peer = \"<{nth}>\""));
    }
    for (nth, (_, new)) in peers.iter().enumerate() {
        text = text.replace(&format!("<{nth}>"), &new.to_string());
    }
    cluster.tree().file(name, &text)
}

/// An address of a node at which nobody listens.
fn unused(cluster: &Cluster, id: u64) -> SocketAddr {
    let mut address = cluster.node(id).place.peer;
    address.set_port(address.port() + 5_000);
    address
}

#[tokio::test]
async fn a_cluster_is_not_formed_with_a_peer_address_that_a_node_does_not_have() {
    let _turn = Turn::shared();
    let cluster = Cluster::started(3).await;
    let peer = |id: u64| cluster.node(id).place.peer;
    let typo = unused(&cluster, 2);
    let wrong = file_with(&cluster, "typo.toml", &[(peer(2), typo)]);
    let init = async |file: &Path| {
        run(&["cluster", "init", "--cluster", file.to_str().unwrap()], &[]).await
    };
    failed(
        &init(&wrong).await,
        1,
        &["node 2", &typo.to_string(), "nothing was changed", "cluster init"],
    );
    is_not_formed(&cluster).await;

    // Somebody answers there, but it is not the node that is meant.
    let swapped = file_with(&cluster, "swapped.toml", &[(peer(2), peer(3)), (peer(3), peer(2))]);
    failed(&init(&swapped).await, 1, &["node 2", &peer(3).to_string(), "nothing was changed"]);
    is_not_formed(&cluster).await;

    cluster.init().await;
    is_one_cluster(&cluster).await;
    cluster.at(1).create("works", concurrency(1)).await;
}

#[tokio::test]
async fn a_cluster_is_not_formed_while_a_node_listens_elsewhere_than_the_file_says() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::described(3);
    let (place, typo) = (cluster.node(3).place, unused(&cluster, 3));
    let wrong = file_with(&cluster, "typo.toml", &[(place.peer, typo)]);
    let (right, dir) = (cluster.file.clone(), cluster.tree().path().to_owned());
    cluster.members.insert(3, Member::new(3, place, &wrong, &dir, None));
    cluster.start().await;
    let words = [
        "node 3",
        &place.peer.to_string(),
        &typo.to_string(),
        "nothing was formed",
        "cluster init",
    ];
    failed(&cluster.cli(&["init"]).await, 1, &words);
    is_not_formed(&cluster).await;

    // Started with the right file it founds the cluster that the others were made part of.
    let id = cluster_ids(&cluster).await[0].clone();
    cluster.node_mut(3).stop().await;
    cluster.members.insert(3, Member::new(3, place, &right, &dir, None));
    cluster.node_mut(3).start().await;
    cluster.init().await;
    assert_eq!(is_one_cluster(&cluster).await, id);
    cluster.at(3).create("works", concurrency(1)).await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let _turn = Turn::shared();
    let mut other = Cluster::formed(3).await;
    let mut cluster = Cluster::started(3).await;
    let theirs = is_one_cluster(&other).await;

    // Node 2 comes with the folder of node 2 of the other cluster.
    for member in other.members.values_mut() {
        member.kill().await;
    }

    cluster.node_mut(2).kill().await;
    fs::remove_dir_all(&cluster.node(2).data).unwrap();
    fs::rename(&other.node(2).data, &cluster.node(2).data).unwrap();
    cluster.node_mut(2).start().await;

    failed(
        &cluster.cli(&["init"]).await,
        1,
        &["node 2 belongs to another cluster", theirs.as_str().unwrap()],
    );

    assert_eq!(
        cluster_ids(&cluster).await,
        [Value::Null, theirs, Value::Null],
        "nothing was formed"
    );
}

#[tokio::test]
async fn a_node_that_lost_its_data_does_not_come_back_under_its_id() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    let wiped = cluster.follower().await;
    cluster.node_mut(wiped).kill().await;
    fs::remove_dir_all(&cluster.node(wiped).data).unwrap();
    cluster.node_mut(wiped).start().await;
    let (id, with) =
        (format!("node {wiped} is empty"), format!("replace-node --id {wiped} --with NEW"));
    failed(&cluster.cli(&["init"]).await, 1, &[&id, &with]);
    failed(
        &cluster.cli(&["add-node", "--id", &wiped.to_string()]).await,
        1,
        &["lost its data", &with],
    );
    assert!(cluster.node(wiped).client.get("/v1/cluster").await.body["cluster_id"].is_null());

    // Its vote would make a majority with the one that is left. It does not vote.
    let (leader, rest) = (cluster.leader().await, cluster.followers().await);
    let left = *rest.iter().find(|id| **id != wiped).unwrap();
    cluster.node_mut(leader).kill().await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let answer = cluster.at(left).acquire("any", json!({})).await;
        assert_eq!(answer.status, 503, "one of three decides nothing: {}", answer.text);
        assert_ne!(cluster.at(left).group().await["role"], "leader");
    }
    cluster.node_mut(leader).start().await;
    cluster.node(left).ready().await;
    // Its region is; names are claimed in the other group.
    cluster.leader_of(GLOBAL).await;
    cluster.at(left).create("goes-on", concurrency(1)).await;
}

#[tokio::test]
async fn a_folder_of_another_node_or_cluster_is_refused() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    for member in cluster.members.values_mut() {
        member.kill().await;
    }

    let file = cluster.file.to_str().unwrap().to_owned();
    let data = |id: u64| cluster.node(id).data.to_str().unwrap().to_owned();
    let (one, two) = (data(1), data(2));
    let output = run(&["node", "--cluster", &file, "--id", "1", "--data", &two], &[]).await;
    failed(&output, 78, &[&two, "belongs to another node", "'2'", "'1'"]);
    let renamed = cluster
        .tree()
        .file("renamed.toml", &fs::read_to_string(&file).unwrap().replace("test", "prod"));

    let output =
        run(&["node", "--cluster", renamed.to_str().unwrap(), "--id", "1", "--data", &one], &[])
            .await;
    failed(&output, 78, &[&one, "'test'", "'prod'"]);
    let output = run(&["node", "--cluster", &file, "--id", "9", "--data", &one], &[]).await;
    failed(&output, 2, &["has no node 9", "[1, 2, 3]"]);

    // Nothing of that has harmed the folder.
    cluster.start().await;
    cluster.leader().await;
}

#[tokio::test]
async fn what_is_wrong_in_a_cluster_file_is_said_with_its_place() {
    let _turn = Turn::shared();
    let cluster = Cluster::described(3);
    let good = fs::read_to_string(&cluster.file).unwrap();

    for (wrong, words) in [
        (good.replace("peer", "pear"), vec!["line 4", "unknown field `pear`", "`peer`"]),
        (
            good.replace("name", "nmae"),
            vec!["line 1", "unknown field `nmae`", "`name`", "`regions`"],
        ),
        (good.clone() + "[globl]\n", vec!["line 8", "unknown field `globl`", "`global`"]),
        (good.replace("id = 2", "id = 1"), vec!["the id 1", "twice"]),
        (good.replace("id = 2", "id = \"2\""), vec!["line 5", "invalid type", "u64"]),
    ] {
        let file = cluster.tree().file("wrong.toml", &wrong);
        let file = file.to_str().unwrap();
        for args in [
            vec!["cluster", "init", "--cluster", file],
            vec!["cluster", "status", "--cluster", file],
            vec!["node", "--id", "1", "--data", "never-made", "--cluster", file],
        ] {
            failed(&run(&args, &[]).await, 2, &[&words[..], &["wrong.toml"]].concat());
        }
    }

    assert!(!Path::new("never-made").exists());
}

#[tokio::test]
async fn all_nodes_may_move_at_once() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    cluster.at(1).create("r", concurrency(1)).await;
    let lease = cluster.at(2).granted("r", json!({"ttl_ms": 600_000})).await.id();

    for id in 1..=3 {
        cluster.node_mut(id).kill().await;
        cluster.relocate(id);
    }

    cluster.start().await;
    for id in 1..=3 {
        cluster.node(id).ready().await;
    }

    // They find each other by the file, and each writes its own new address into the book.
    let leader = cluster.leader().await;
    eventually("the new address of the leader is told", || async {
        let answer = cluster.at(3).lease(&lease).await;
        answer.is(200);
        (answer.header("ratequeue-leader") == Some(&cluster.node(leader).url())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_nodes_may_stop_at_once_and_come_back() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    cluster.at(1).create("kept", concurrency(3)).await;
    let held = cluster.at(2).granted("kept", json!({"ttl_ms": 600_000})).await.id();
    let load = Load::start(&cluster.urls([1, 2, 3]), "kept", 4);
    load.goes_on(20).await;

    for member in cluster.members.values() {
        member.signal(Signal::KILL);
    }

    for member in cluster.members.values_mut() {
        member.ended().await;
    }

    cluster.start().await;
    for member in cluster.members.values() {
        member.ready().await;
    }

    load.goes_on(20).await;
    load.stop().await.nothing_failed();
    assert_eq!(cluster.at(3).lease(&held).await.is(200).str("state"), "held");
    cluster.agree(&[1, 2, 3]).await;
    let client = Client::new(&cluster.urls([1]), None, Duration::from_secs(5)).unwrap();
    assert!(client.cluster().await.is_ok());

    eventually("all know one leader", || async {
        let groups = cluster.groups().await;
        (groups.len() == 3 && groups.values().all(|group| group["leader"] == groups[&1]["leader"]))
            .then_some(())
    })
    .await;
}
