//! Clusters of two versions: the rules are those that all members can follow.

use serde_json::{Value, json};

use crate::cluster::{Cluster, REGION, done, failed};
use crate::harness::{Answer, concurrency, eventually};
use crate::member::{CURRENT, level_1};
use crate::turn::Turn;

/// The node that runs the older version.
const OLD: u64 = 3;

/// Something that only level 2 has.
fn claimed() -> Value {
    json!({"limits": concurrency(1), "queue": {"claim_ms": 1_000}})
}

async fn level_at(cluster: &Cluster, id: u64) -> u64 {
    let view = cluster.at(id).get("/v1/cluster").await;
    view.is(200).body["groups"][REGION]["feature_level"].as_u64().unwrap()
}

/// A caller without a key that waits, and hangs up. Node 1 leads.
async fn hangs_up(cluster: &Cluster, id: u64) {
    let client = cluster.at(id).clone();
    let before = cluster.at(1).leases("r", "waiting").await.len();
    let call = tokio::spawn(async move {
        client.acquire("r", json!({"wait_ms": 60_000, "hold_ms": 30_000})).await
    });
    let in_queue =
        || async { (cluster.at(1).leases("r", "waiting").await.len() > before).then_some(()) };
    eventually("it waits", in_queue).await;
    call.abort();
}

async fn put_claimed(cluster: &Cluster, id: u64) -> Answer {
    cluster.at(id).put("/v1/resources/claimed", claimed()).await
}

#[tokio::test]
async fn it_rises_once_the_last_member_can_follow() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::described(3);
    cluster.node_mut(OLD).program = level_1();
    cluster.start().await;
    cluster.init().await;
    for leader in [OLD, 1] {
        done(&cluster.cli(&["transfer-leader", "--to", &leader.to_string()]).await);
        for id in [1, 2, OLD] {
            put_claimed(&cluster, id).await.problem(503, "feature-not-enabled");
        }
    }
    // Named by a leader of the newer version, who knows more than it may do.
    put_claimed(&cluster, 1).await.problem(503, "feature-not-enabled").says(&["Node 3"]);

    let named = json!({"limits": concurrency(1)});
    for id in [1, 2, OLD] {
        // The older version knows no such names at all.
        let answer = cluster.at(id).put("/v1/resources/azure%2Fgpt-4.1", named.clone()).await;
        let (status, code) =
            if id == OLD { (400, "bad-request") } else { (503, "feature-not-enabled") };
        answer.problem(status, code);
    }

    // All that calls do at level 1, a caller that hangs up among it.
    cluster.at(1).create("r", concurrency(1)).await;
    let held = cluster.at(2).granted("r", json!({"load": 0})).await.id();
    hangs_up(&cluster, 1).await;
    hangs_up(&cluster, OLD).await;
    cluster.at(OLD).release(&held).await.is(200);
    for id in [1, 2, OLD] {
        assert_eq!(level_at(&cluster, id).await, 1, "node {id}");
    }
    cluster.agree(&[1, 2, OLD]).await;

    // Nothing is said to the newer version: it runs, and that is all.
    cluster.node_mut(OLD).stop().await;
    cluster.node_mut(OLD).program = CURRENT.into();
    cluster.node_mut(OLD).start().await;
    for id in [1, 2, OLD] {
        eventually(&format!("the level rises at node {id}"), || async {
            (level_at(&cluster, id).await == 2).then_some(())
        })
        .await;
    }
    put_claimed(&cluster, OLD).await.is(201);
    // The global group, which has the name, may rise a moment later.
    eventually("names of level 2 are known", || async {
        let answer = cluster.at(OLD).put("/v1/resources/azure%2Fgpt-4.1", named.clone()).await;
        (answer.status == 201).then_some(())
    })
    .await;
    cluster.agree(&[1, 2, OLD]).await;

    // There is no way back: the older version sees that it cannot follow, and says so before it
    // does anything.
    cluster.node_mut(OLD).stop().await;
    cluster.node_mut(OLD).program = level_1();
    cluster.node_mut(OLD).spawn();
    assert_eq!(cluster.node_mut(OLD).ended().await.code(), Some(78));
    assert!(cluster.node(OLD).log().contains("feature level"), "{}", cluster.node(OLD).log());
    cluster.node_mut(OLD).program = CURRENT.into();
    cluster.node_mut(OLD).start().await;
    cluster.node(OLD).ready().await;
    cluster.agree(&[1, 2, OLD]).await;
}

/// An older version that joins learns the level from the log, or from a snapshot.
#[tokio::test]
async fn a_member_that_cannot_follow_stops() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    eventually("the level rises", || async { (level_at(&cluster, 1).await == 2).then_some(()) })
        .await;
    cluster.describe(4).program = level_1();
    cluster.node_mut(4).start().await;
    let said = failed(
        &cluster.cli(&["add-node", "--id", "4"]).await,
        1,
        &["node 4 follows feature level 1 only"],
    );
    assert!(said.contains("install the version that the others run"), "{said}");
    let view = cluster.at(1).get("/v1/cluster").await.is(200).body.clone();
    assert_eq!((&view["changes"], &view["groups"]["global"]["learners"]), (&json!([]), &json!([])));

    // A member that is put back to the older version stops before it applies anything.
    cluster.node_mut(OLD).stop().await;
    cluster.node_mut(OLD).program = level_1();
    cluster.node_mut(OLD).spawn();
    assert_eq!(cluster.node_mut(OLD).ended().await.code(), Some(78));
    let log = cluster.node(OLD).log();
    assert!(log.contains("install the version that the others run"), "{log}");
    cluster.node_mut(OLD).program = CURRENT.into();
    cluster.node_mut(OLD).start().await;
    cluster.agree(&[1, 2, 3]).await;
}
