//! A region that comes later, and nodes that come and go: in both groups that a node is in.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{AP, EU, US, near};
use crate::cluster::{Cluster, GLOBAL, done, failed, stdout};
use crate::harness::{concurrency, eventually};
use crate::load::{Limits, Load};
use crate::turn::Turn;

async fn ids(cluster: &Cluster, at: u64, field: &str) -> BTreeSet<u64> {
    let group =
        cluster.at(at).get("/v1/cluster").await.is(200).body["groups"][GLOBAL][field].clone();
    group.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Waits until a node knows these voters and learners of the global group.
async fn global_is(cluster: &Cluster, at: u64, voters: &[u64], learners: &[u64]) {
    let wanted: [BTreeSet<u64>; 2] =
        [voters.iter().copied().collect(), learners.iter().copied().collect()];
    eventually(&format!("node {at} knows {wanted:?}"), || async {
        let found = [ids(cluster, at, "voters").await, ids(cluster, at, "learners").await];
        (found == wanted).then_some(())
    })
    .await;
}

/// Waits until a node knows that a region cannot be reached.
async fn knows_to_be_lost(cluster: &Cluster, at: u64, region: &str) {
    eventually("the region is known to be lost", || async {
        let body = cluster.at(at).get("/v1/cluster").await.is(200).body.clone();
        (body["regions"][region]["reachable"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_region_is_added_to_a_running_cluster() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::described_in(&[(EU, 3)]);
    cluster.start().await;
    cluster.init().await;
    global_is(&cluster, 1, &[1, 2, 3], &[]).await;
    let limits = Limits { slots: 5, rate: 50, window: std::time::Duration::from_millis(50) };
    cluster.at(1).create("work", limits.json()).await;
    let load = Load::start(&cluster.urls([1, 2, 3]), "work", 8);
    load.goes_on(20).await;

    // A region that is far away takes other times for elections, which all nodes must have.
    cluster.describe_in(US, 4).start().await;
    failed(
        &cluster.cli(&["add-node", "--id", "4"]).await,
        1,
        &["[4]", "150 ms", "with 0 ms", "restart every node"],
    );
    for id in [1, 2, 3] {
        cluster.node_mut(id).stop().await;
        cluster.node_mut(id).start().await;
        cluster.node(id).ready().await;
    }

    let before = json!({"placement": US, "limits": concurrency(1)});
    cluster.at(1).put("/v1/resources/early", before.clone()).await.problem(422, "invalid-resource");
    for id in [4, 5, 6] {
        if id != 4 {
            cluster.describe_in(US, id).start().await;
        }
        cluster.at(id).get("/readyz").await.problem(503, "no-quorum");
        let said = done(&cluster.cli(&["add-node", "--id", &id.to_string()]).await);
        assert!(said.contains(&format!("node {id} votes in group {US} now")), "{said}");
        cluster.node(id).ready().await;
        if id == 4 {
            // One that is added takes nobody's vote as long as that costs the group a loss that it
            // tolerated.
            global_is(&cluster, 1, &[1, 2, 4], &[3]).await;
        }
        // Again, and nothing changes.
        done(&cluster.cli(&["add-node", "--id", &id.to_string()]).await);
    }
    // Two voters of each of two regions, by the rule of the file.
    for door in 1..=6 {
        global_is(&cluster, door, &[1, 2, 4, 5], &[3, 6]).await;
    }
    assert_eq!(cluster.groups_of(US).await[&4]["voters"], json!([4, 5, 6]));
    cluster.at(2).put("/v1/resources/early", before).await.is(201);
    let lease = cluster.at(3).granted("early", json!({})).await.id();
    assert!(lease.starts_with("us-east-1."), "{lease}");
    cluster.at(6).granted("work", json!({"wait_ms": 60_000})).await;
    done(&cluster.cli(&["init"]).await);
    let table = done(&cluster.cli(&["status"]).await);
    assert!(table.starts_with("REGION") && table.contains(US), "{table}");
    load.goes_on(20).await;
    let story = load.stop().await;
    story.nothing_failed();
    story.kept(limits);
    cluster.agree_on(GLOBAL, &[1, 2, 3, 4, 5, 6]).await;
}

#[tokio::test]
async fn a_lost_voter_of_both_groups_is_replaced() {
    let _turn = Turn::shared();
    let mut cluster = near(&[(EU, 3), (US, 1), (AP, 1)]).await;
    global_is(&cluster, 2, &[1, 4, 5], &[2, 3]).await;
    cluster
        .at(4)
        .put("/v1/resources/g", json!({"placement": GLOBAL, "limits": concurrency(2)}))
        .await
        .is(201);
    let lease = cluster.at(2).granted("g", json!({"ttl_ms": 600_000})).await.id();

    cluster.node_mut(1).kill().await;
    cluster.describe_in(EU, 6).start().await;
    done(&cluster.cli(&["replace-node", "--id", "1", "--with", "6"]).await);
    for door in 2..=6 {
        // The next of the region votes; the lost one is forgotten.
        global_is(&cluster, door, &[2, 4, 5], &[3, 6]).await;
        assert_eq!(cluster.at(door).lease(&lease).await.is(200).str("state"), "held");
    }
    done(&cluster.cli(&["remove-node", "--shrink", "--id", "6"]).await);
    global_is(&cluster, 4, &[2, 4, 5], &[3]).await;
    cluster.node_mut(6).kill().await;
    assert_eq!(cluster.at(2).group().await["voters"], json!([2, 3]));
    // What lives in a region is not given up with its last voter.
    cluster.at(5).put("/v1/resources/theirs", json!({"limits": concurrency(1)})).await.is(201);
    failed(
        &cluster.cli(&["remove-node", "--id", "5"]).await,
        1,
        &["node 5 is the only voter", "resources live"],
    );

    // A region whose nodes are silent is not a new one: it would get a second group.
    cluster.node_mut(5).kill().await;
    knows_to_be_lost(&cluster, 4, AP).await;
    // A name is not claimed for a region that cannot create it.
    let there = json!({"placement": AP, "limits": concurrency(1)});
    cluster.at(4).put("/v1/resources/free", there).await.problem(503, "no-quorum");
    cluster.at(4).put("/v1/resources/free", json!({"limits": concurrency(1)})).await.is(201);
    cluster.describe_in(AP, 7).start().await;
    failed(
        &cluster.cli(&["add-node", "--id", "7"]).await,
        1,
        &["region ap-south-1 has nodes already", "bring them back"],
    );
    cluster
        .at(4)
        .put("/v1/resources/theirs", json!({"limits": concurrency(1)}))
        .await
        .problem(503, "no-quorum");
    cluster.node_mut(5).start().await;
    cluster.node(5).ready().await;
    done(&cluster.cli(&["add-node", "--id", "7"]).await);
    eventually("the region has a second voter", || async {
        (cluster.at(7).group().await["voters"] == json!([5, 7])).then_some(())
    })
    .await;
}

/// The group of a region whose only node is silent may come back, so there is no other one,
/// whatever the file says.
async fn no_other_group_is_made_of_it(cluster: &mut Cluster) {
    cluster.describe_in(AP, 4).start().await;
    failed(
        &cluster.cli(&["add-node", "--id", "4"]).await,
        1,
        &["region ap-south-1 has nodes already ([3])"],
    );
    global_is(cluster, 1, &[1, 2, 3], &[]).await;
    cluster.forget(3);
    failed(
        &cluster.cli(&["add-node", "--id", "4"]).await,
        1,
        &["region ap-south-1 has nodes already ([3])"],
    );
    failed(&cluster.cli(&["init"]).await, 1, &["region ap-south-1 is no part of it"]);
    global_is(cluster, 1, &[1, 2, 3], &[]).await;
}

/// Names that are claimed still keep the region's name from being used again.
async fn a_node_comes_to_it_once_its_names_are_free(cluster: &mut Cluster, token: u64) {
    cluster.forget(3);
    cluster.describe_in(AP, 5).start().await;
    failed(
        &cluster.cli(&["add-node", "--id", "5"]).await,
        1,
        &["There was a region ap-south-1", "a new name"],
    );
    cluster.at(1).put("/v1/resources/a", json!({"limits": concurrency(1)})).await.is(201);
    let next = cluster.at(2).granted("a", json!({})).await.u64("fencing_token");

    assert!(next > token, "{next} follows {token}");
    cluster
        .at(2)
        .put("/v1/resources/b", json!({"placement": GLOBAL, "limits": concurrency(1)}))
        .await
        .is(201);
    done(&cluster.cli(&["add-node", "--id", "5"]).await);
    cluster
        .at(1)
        .put("/v1/resources/c", json!({"placement": AP, "limits": concurrency(1)}))
        .await
        .is(201);
    cluster.at(2).granted("c", json!({})).await;
}

#[tokio::test]
async fn a_lost_region_is_taken_out_and_its_names_are_free() {
    let _turn = Turn::shared();
    let mut cluster = near(&[(EU, 1), (US, 1), (AP, 1)]).await;
    for name in ["a", "b"] {
        cluster
            .at(1)
            .put(
                &format!("/v1/resources/{name}"),
                json!({"placement": AP, "limits": concurrency(1)}),
            )
            .await
            .is(201);
    }
    let token = cluster.at(1).granted("a", json!({})).await.u64("fencing_token");
    cluster.node_mut(3).kill().await;
    knows_to_be_lost(&cluster, 1, AP).await;
    // Nobody who could decide it is named, and nobody else either.
    let undecided = cluster.at(1).acquire("a", json!({})).await;
    undecided.problem(503, "no-quorum");
    assert_eq!(undecided.header("ratequeue-leader"), None);
    let keyed = cluster
        .at(1)
        .call(Method::DELETE, "/v1/resources/never", &[("idempotency-key", "k")], None)
        .await;
    keyed.problem(404, "resource-not-found");

    no_other_group_is_made_of_it(&mut cluster).await;
    cluster.forget(4);
    cluster.node_mut(4).kill().await;
    cluster.describe_in(AP, 3);
    failed(&cluster.cli(&["status"]).await, 1, &[]);
    // A node that is only away does not take along what lives there, unless that is meant.
    let words = ["node 3 is the last of region ap-south-1", "bring it back", "--shrink"];
    failed(&cluster.cli(&["remove-node", "--id", "3"]).await, 1, &words);
    let out = done(&cluster.cli(&["remove-node", "--id", "3", "--shrink"]).await);
    assert!(out.contains("node 3 is no member of the cluster"), "{out}");
    for door in [1, 2] {
        global_is(&cluster, door, &[1, 2], &[]).await;
    }
    for name in ["a", "b"] {
        cluster.at(2).acquire(name, json!({})).await.problem(404, "resource-not-found");
    }
    a_node_comes_to_it_once_its_names_are_free(&mut cluster, token).await;
}

/// What was decided about a region that could not be asked is carried out in it once it is back.
#[tokio::test]
async fn a_region_that_comes_back_has_left_out_the_node_that_was_removed_meanwhile() {
    let _turn = Turn::shared();
    let mut cluster = near(&[(EU, 1), (US, 3), (AP, 1)]).await;
    let there = json!({"placement": US, "limits": concurrency(1)});
    cluster.at(1).put("/v1/resources/theirs", there).await.is(201);
    let lease = cluster.at(2).granted("theirs", json!({"ttl_ms": 600_000})).await.id();
    for id in [2, 3, 4] {
        cluster.node_mut(id).kill().await;
    }
    knows_to_be_lost(&cluster, 1, US).await;

    // It may come back with the other two, which tolerate no loss.
    let words = [US, "voters [2, 3]", "tolerate the loss of 0", "--shrink"];
    failed(&cluster.cli(&["remove-node", "--id", "4"]).await, 1, &words);
    done(&cluster.cli(&["remove-node", "--id", "4", "--shrink"]).await);
    // Another node cannot take its place before they are back, unless they are given up.
    cluster.describe_in(US, 6).start().await;
    let words = ["bring them back", "lost for good", "`ratequeue cluster remove-node --id N`"];
    failed(&cluster.cli(&["add-node", "--id", "6"]).await, 1, &words);
    cluster.node_mut(6).kill().await;
    cluster.forget(6);

    for id in [2, 3, 4] {
        cluster.node_mut(id).start().await;
    }
    eventually("the removed node votes no longer", || async {
        let groups = cluster.groups_of(US).await;
        [2, 3]
            .iter()
            .all(|id| groups.get(id).is_some_and(|group| group["voters"] == json!([2, 3])))
            .then_some(())
    })
    .await;
    cluster.node_mut(4).kill().await;
    assert_eq!(cluster.at(3).lease(&lease).await.is(200).str("state"), "held");
    cluster.at(2).put("/v1/resources/goes-on", json!({"limits": concurrency(1)})).await.is(201);
}

#[tokio::test]
async fn a_lost_region_is_shown_and_drained_leaders_go_elsewhere() {
    let _turn = Turn::shared();
    let mut cluster = super::nine().await;
    let leader = cluster.leader_of(GLOBAL).await;
    let said = done(&cluster.cli(&["drain", "--id", &leader.to_string()]).await);
    assert!(said.contains("leads group global"), "{said}");
    assert_ne!(cluster.leader_of(GLOBAL).await, leader);
    let moved = done(
        &cluster.cli(&["transfer-leader", "--group", GLOBAL, "--to", &leader.to_string()]).await,
    );
    assert!(moved.contains(&format!("node {leader} leads group global now")), "{moved}");
    failed(&cluster.cli(&["transfer-leader"]).await, 2, &["--group must be one of", GLOBAL, AP]);

    for id in cluster.ids_in(AP) {
        cluster.node_mut(id).kill().await;
    }
    let view = |body: &Value, region: &str| body["regions"][region]["reachable"].clone();
    for door in [1, 4] {
        eventually("the region is known to be lost", || async {
            let body = cluster.at(door).get("/v1/cluster").await.is(200).body.clone();
            (view(&body, AP) == false && view(&body, EU) == true && view(&body, US) == true)
                .then_some(())
        })
        .await;
    }
    let status = cluster.cli(&["status"]).await;
    assert_eq!(status.status.code(), Some(1));
    let table = stdout(&status);
    let row = table.lines().find(|line| line.starts_with(AP)).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, [AP, "lost", "3", "0", "-", "eu-west-1,", "us-east-1"], "{table}");
}
