//! Founding a cluster: what its nodes have to agree on, and a founding that breaks off.

use std::fs;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::bootstrap::{cluster_ids, is_not_formed, is_one_cluster};
use crate::cluster::{Cluster, GLOBAL, REGION, failed};
use crate::harness::{Answer, concurrency, eventually, run};
use crate::member::Member;
use crate::turn::Turn;

/// How often a moment that lasts for an election is tried for.
const FOUNDINGS_MAX: usize = 5;

/// Adopts a node over HTTP, as the commands do.
async fn adopt(cluster: &Cluster, id: u64, cluster_id: &str, founding: Option<Value>) -> Answer {
    let mut body = json!({"name": cluster.name, "cluster_id": cluster_id, "node": id, "region": cluster.region_of(id)});
    if let Some(founding) = founding {
        body["founding"] = founding;
    }
    cluster.at(id).post("/v1/cluster/adopt", body).await
}

#[tokio::test]
async fn a_node_in_another_region_than_the_file_says_is_not_founded_with() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::described(3);
    let (place, dir) = (cluster.node(3).place, cluster.tree().path().to_owned());
    let text = fs::read_to_string(&cluster.file).unwrap();
    let line = text.lines().find(|line| line.contains("id = 3")).unwrap().to_owned();
    let other = text.replace(&line, "") + &format!("[regions.us]\nnodes = [\n{line}\n]\n");

    let other = cluster.tree().file("other.toml", &other);
    cluster.members.insert(3, Member::new(3, place, &other, &dir, None));
    cluster.start().await;

    failed(
        &cluster.cli(&["init"]).await,
        1,
        &["node 3", "region us, not eu", "nothing was formed"],
    );
    is_not_formed(&cluster).await;
}

#[tokio::test]
async fn nodes_that_were_adopted_to_join_never_found_a_cluster() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(2).await;
    let id = is_one_cluster(&cluster).await;
    // Nodes of a new region, with a file that has only that region.
    for node in [3, 4] {
        cluster.describe_in("us", node);
    }
    let text = fs::read_to_string(&cluster.file).unwrap();
    let (head, us) = (text.lines().next().unwrap(), &text[text.find("[regions.us]").unwrap()..]);
    let partial = cluster.tree().file("partial.toml", &format!("{head}\n{us}"));
    let dir = cluster.tree().path().to_owned();
    for node in [3, 4] {
        let place = cluster.node(node).place;
        cluster.members.insert(node, Member::new(node, place, &partial, &dir, None));
        cluster.node_mut(node).start().await;
        // An `add-node` that broke off after its first step.
        adopt(&cluster, node, id.as_str().unwrap(), None).await.is(200);
    }

    // They would make a second global group under the same id.
    let output = run(&["cluster", "init", "--cluster", partial.to_str().unwrap()], &[]).await;
    failed(&output, 1, &["adopted to join a cluster", "empty data folder"]);
    for node in [3, 4] {
        let groups = cluster.at(node).get("/v1/cluster").await.is(200).body["groups"].clone();
        assert_eq!((&groups["us"]["voters"], &groups[GLOBAL]["voters"]), (&json!([]), &json!([])));
    }
}

/// The command, and then a node, are lost between the steps of a founding.
#[tokio::test]
async fn a_founding_that_broke_off_goes_on_where_it_stopped() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::started(3).await;
    let nodes: Vec<Value> = (1..=3)
        .map(|id| {
            let member = cluster.node(id);
            json!({"id": id, "region": REGION, "http": member.url(), "peer": member.place.peer.to_string()})
        })
        .collect();
    let founding = json!({"nodes": nodes, "voters_per_region": null, "round_trip_ms": 0});
    let id = "0123456789abcdef0123456789abcdef";
    for node in [1, 2] {
        adopt(&cluster, node, id, Some(founding.clone())).await.is(200);
    }
    // One of those that were adopted loses its folder, which is still without meaning.
    cluster.node_mut(2).kill().await;
    fs::remove_dir_all(&cluster.node(2).data).unwrap();
    cluster.node_mut(2).start().await;
    is_not_formed(&cluster).await;

    cluster.init().await;
    assert_eq!(is_one_cluster(&cluster).await, id);
    cluster.at(3).create("works", concurrency(1)).await;
}

/// Nobody has to watch: the nodes form the cluster once all of them know of it.
#[tokio::test]
async fn nodes_that_all_agree_form_the_cluster_by_themselves() {
    let _turn = Turn::shared();
    let cluster = Cluster::started(3).await;
    let mut init = Command::new(env!("CARGO_BIN_EXE_ratequeue"));

    let mut init = init
        .args(["cluster", "init", "--cluster"])
        .arg(&cluster.file)
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    eventually("all are adopted", || async {
        let ids = cluster_ids(&cluster).await;
        ids.iter().all(Value::is_string).then_some(())
    })
    .await;

    init.start_kill().unwrap();
    init.wait().await.unwrap();
    for member in cluster.members.values() {
        member.ready().await;
    }

    cluster.leader_of(GLOBAL).await;
    cluster.at(2).create("works", concurrency(1)).await;
}

/// Whether a node knows voters of a group.
async fn is_formed(cluster: &Cluster, at: u64, group: &str) -> bool {
    let view = cluster.at(at).get("/v1/cluster").await.is(200).body.clone();
    view["groups"][group]["voters"].as_array().is_some_and(|voters| !voters.is_empty())
}

/// A region has a group and the cluster none yet when a node of another region loses its folder.
#[tokio::test]
async fn a_node_that_loses_its_folder_before_the_global_group_is_there_is_founded_with_again() {
    let _turn = Turn::shared();
    for _ in 0..FOUNDINGS_MAX {
        let mut cluster = Cluster::described_in(&[("eu", 2), ("us", 1)]);
        cluster.start().await;
        let mut init = Command::new(env!("CARGO_BIN_EXE_ratequeue"));
        let mut init = init
            .args(["cluster", "init", "--cluster"])
            .arg(&cluster.file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("the first region has a group", || async {
            is_formed(&cluster, 1, "eu").await.then_some(())
        })
        .await;
        cluster.node_mut(3).kill().await;
        init.start_kill().unwrap();
        init.wait().await.unwrap();
        if is_formed(&cluster, 1, GLOBAL).await {
            continue;
        }

        fs::remove_dir_all(&cluster.node(3).data).unwrap();
        cluster.node_mut(3).start().await;
        cluster.init().await;
        is_one_cluster(&cluster).await;
        for region in ["eu", "us"] {
            let body = json!({"placement": region, "limits": concurrency(1)});
            cluster.at(1).put(&format!("/v1/resources/in-{region}"), body).await.is(201);
        }
        return;
    }
    panic!("in {FOUNDINGS_MAX} foundings the global group was always there at once");
}
