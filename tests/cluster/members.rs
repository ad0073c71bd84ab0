//! Nodes come, go and take the place of others while the cluster works. Nothing is lost, and no
//! change is made that would cost the cluster its majority.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, GLOBAL, REGION, done, failed};
use crate::harness::{concurrency, eventually};
use crate::load::{Limits, Load};
use crate::turn::Turn;

const LIMITS: Limits = Limits { slots: 5, rate: 50, window: Duration::from_millis(50) };
const CALLERS: usize = 16;

/// A cluster under load, and a lease that must outlive every change.
struct Busy {
    cluster: Cluster,
    load: Load,
    kept: String,
}

async fn busy() -> Busy {
    let cluster = Cluster::formed(3).await;
    cluster.at(1).create("work", LIMITS.json()).await;
    cluster.at(2).create("kept", concurrency(1)).await;
    let kept = cluster.at(3).granted("kept", json!({"ttl_ms": 600_000})).await.id();
    let load = Load::start(&cluster.urls([1, 2, 3]), "work", CALLERS);
    load.goes_on(20).await;
    Busy { cluster, load, kept }
}

impl Busy {
    /// Every call was answered, no limit exceeded, nothing lost, and these members are equal.
    async fn ends_well(self, members: &[u64]) {
        self.load.goes_on(20).await;
        let story = self.load.stop().await;
        story.nothing_failed();
        story.kept(LIMITS);
        for id in members {
            let kept = self.cluster.at(*id).lease(&self.kept).await;
            assert_eq!(kept.is(200).str("state"), "held", "seen at node {id}");
        }
        self.cluster.agree(members).await;
    }

    async fn add(&mut self, id: u64) -> String {
        self.cluster.describe(id).start().await;
        done(&self.cluster.cli(&["add-node", "--id", &id.to_string()]).await)
    }
}

/// Who votes, as every one of these nodes sees it.
async fn voters_are(cluster: &Cluster, seen_by: &[u64], voters: &[u64]) {
    eventually(&format!("{voters:?} vote"), || async {
        let groups = cluster.groups().await;
        let same = |id: &u64| groups.get(id).is_some_and(|group| group["voters"] == json!(voters));
        seen_by.iter().all(same).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_fourth_node_joins_and_another_leaves() {
    let _turn = Turn::shared();
    let mut busy = busy().await;
    assert!(busy.add(4).await.contains("node 4 votes in group eu now"));
    voters_are(&busy.cluster, &[1, 2, 3, 4], &[1, 2, 3, 4]).await;
    let again = done(&busy.cluster.cli(&["add-node", "--id", "4"]).await);
    assert!(again.contains("node 4 votes"), "repeating it does nothing: {again}");
    voters_are(&busy.cluster, &[1, 2, 3, 4], &[1, 2, 3, 4]).await;
    busy.cluster.at(4).get("/readyz").await.is(200);
    busy.cluster.at(4).create("by-the-new-one", concurrency(1)).await;

    let leader = busy.cluster.leader().await;
    let rest: Vec<u64> = (1..=4).filter(|id| *id != leader).collect();
    let said = done(&busy.cluster.cli(&["remove-node", "--id", &leader.to_string()]).await);
    assert!(said.contains("is no member of the cluster") && said.contains("Stop it"), "{said}");
    voters_are(&busy.cluster, &rest, &rest).await;
    busy.cluster.node_mut(leader).stop().await;
    let said = done(&busy.cluster.cli(&["remove-node", "--id", &leader.to_string()]).await);
    assert!(said.contains("is no member"), "repeating it does nothing: {said}");
    busy.ends_well(&rest).await;
}

#[tokio::test]
async fn a_lost_node_is_replaced_by_one_with_a_new_id() {
    let _turn = Turn::shared();
    let mut busy = busy().await;
    let lost = busy.cluster.leader().await;
    busy.cluster.node_mut(lost).kill().await;
    busy.load.goes_on(20).await;
    busy.cluster.describe(4).start().await;

    let lost_id = lost.to_string();
    let output = busy.cluster.cli(&["replace-node", "--id", &lost_id, "--with", &lost_id]).await;
    failed(&output, 2, &["never used twice"]);
    let said = done(&busy.cluster.cli(&["replace-node", "--id", &lost_id, "--with", "4"]).await);
    assert!(said.contains(&format!("node 4 has taken the place of node {lost}")), "{said}");
    let rest: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();

    voters_are(&busy.cluster, &rest, &rest).await;
    let third = rest.iter().find(|id| **id != 4).unwrap().to_string();
    let shrink = busy.cluster.cli(&["replace-node", "--id", "4", "--with", &third]).await;
    failed(&shrink, 1, &[&format!("node {third} votes in group eu itself"), "use remove-node"]);

    // Repeating it finds it done.
    done(&busy.cluster.cli(&["replace-node", "--id", &lost_id, "--with", "4"]).await);
    voters_are(&busy.cluster, &rest, &rest).await;
    busy.ends_well(&rest).await;
}

#[tokio::test]
async fn a_change_that_would_cost_the_majority_is_refused() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    let followers = cluster.followers().await;
    cluster.node_mut(followers[0]).kill().await;
    let output = cluster.cli(&["remove-node", "--id", &followers[1].to_string()]).await;
    failed(&output, 1, &["only 1 of the 2 voters", "no majority"]);
    let leader = cluster.leader().await;
    let output = cluster.cli(&["remove-node", "--id", &leader.to_string()]).await;
    failed(&output, 1, &["no majority"]);
    voters_are(&cluster, &[leader, followers[1]], &[1, 2, 3]).await;
    // The one that is dead may go, if that is meant: then no other one may be lost.
    let dead = followers[0].to_string();
    let output = cluster.cli(&["remove-node", "--id", &dead]).await;
    failed(&output, 1, &["tolerate the loss of 0", "now it tolerates 1", "--shrink"]);
    voters_are(&cluster, &[leader, followers[1]], &[1, 2, 3]).await;
    done(&cluster.cli(&["remove-node", "--shrink", "--id", &dead]).await);
    cluster.at(leader).create("goes-on", concurrency(1)).await;
    failed(&cluster.cli(&["remove-node", "--id", "9"]).await, 2, &["no node 9"]);

    // The file still has it. It is no member, and nothing is wrong with the others.
    let table = done(&cluster.cli(&["status"]).await);
    let row = table.lines().find(|line| line.starts_with(&format!("{dead} "))).unwrap();
    assert!(row.contains("no member") && !table.contains("down"), "{table}");
}

#[tokio::test]
async fn an_id_that_is_taken_is_refused() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;

    // A node of another cluster, and one that is not running.
    let other = Cluster::formed(1).await;
    cluster.describe(4);

    failed(
        &cluster.cli(&["add-node", "--id", "4"]).await,
        1,
        &["node 4 does not answer: start it first"],
    );

    let mut stranger = other;
    let data = stranger.node(1).data.clone();
    stranger.node_mut(1).kill().await;
    std::fs::rename(data, &cluster.node(4).data).unwrap();
    cluster.node_mut(4).spawn();
    assert_eq!(cluster.node_mut(4).ended().await.code(), Some(78), "{}", cluster.node(4).log());

    // An empty node under the id of a member.
    let taken = cluster.follower().await;
    cluster.node_mut(taken).kill().await;
    std::fs::remove_dir_all(&cluster.node(taken).data).unwrap();
    cluster.node_mut(taken).start().await;
    let output = cluster.cli(&["add-node", "--id", &taken.to_string()]).await;

    failed(&output, 1, &["is a member already", "replace-node"]);
    assert!(cluster.at(taken).get("/v1/cluster").await.body["cluster_id"].is_null());
}

#[tokio::test]
async fn leadership_goes_where_it_is_sent() {
    let _turn = Turn::shared();
    let busy = busy().await;
    for to in [1, 2, 3, 1] {
        let said = done(&busy.cluster.cli(&["transfer-leader", "--to", &to.to_string()]).await);
        assert!(said.contains(&format!("node {to} leads group {REGION}")), "{said}");
        assert_eq!(busy.cluster.leader().await, to);
    }

    let said = done(&busy.cluster.cli(&["drain", "--id", "1"]).await);
    assert!(said.contains("node 1 leads nothing now"), "{said}");
    let leader = busy.cluster.leader().await;
    assert_ne!(leader, 1);
    let said = done(&busy.cluster.cli(&["drain", "--id", "1"]).await);
    assert!(said.contains("node 1 leads nothing"), "repeating it does nothing: {said}");

    failed(
        &busy.cluster.cli(&["transfer-leader", "--to", "9"]).await,
        1,
        &["node 9 does not vote"],
    );

    failed(&busy.cluster.cli(&["transfer-leader", "--group", "mars"]).await, 2, &[REGION]);
    busy.ends_well(&[1, 2, 3]).await;
}

/// How far behind the fourth node is, on a machine that is quick enough.
const ENTRIES: u64 = 20_000;
/// How far behind it is at least, and how long that may take.
const ENTRIES_MIN: u64 = 1_000;
const ENTRIES_WITHIN: Duration = Duration::from_secs(30);
/// A checkpoint is made after a minute.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(100);

/// Calls that each become an entry of the log, until dropped.
async fn entries(cluster: &Cluster) -> JoinSet<()> {
    let node = cluster.at(cluster.leader().await);
    node.create("busy", concurrency(4)).await;
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let lease = node.granted("busy", json!({"ttl_ms": 600_000})).await.id();
        let node = node.clone();
        calls.spawn(async move {
            loop {
                node.extend(&lease, json!({"ttl_ms": 600_000})).await.is(200);
            }
        });
    }
    calls
}

/// Waits until this is so, which takes its time.
async fn in_time(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < within, "waited {within:?} for this: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The log is purged up to the older of two checkpoints. One is made at every clean stop, the other
/// after a minute.
#[tokio::test]
async fn a_node_that_is_far_behind_catches_up() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    cluster.at(1).create("kept", concurrency(1)).await;
    let kept = cluster.at(1).granted("kept", json!({"ttl_ms": 600_000})).await.id();
    for member in cluster.members.values_mut() {
        member.signal(Signal::TERM);
    }
    for member in cluster.members.values_mut() {
        assert_eq!(member.ended().await.code(), Some(0));
    }
    cluster.start().await;
    let leader = cluster.leader().await;
    let calls = entries(&cluster).await;

    // By entries: the whole log is still there.
    let begun = Instant::now();
    let node = cluster.at(leader).clone();
    in_time("a long log", CHECKPOINT_WITHIN, async || {
        let applied = node.applied_index().await;
        applied >= ENTRIES || (applied >= ENTRIES_MIN && begun.elapsed() > ENTRIES_WITHIN)
    })
    .await;
    let (behind, begun) = (node.applied_index().await, Instant::now());
    cluster.describe(4).start().await;
    done(&cluster.cli(&["add-node", "--id", "4"]).await);
    println!(
        "members: a node that was {behind} entries behind votes after {:.1?}",
        begun.elapsed()
    );
    assert!(!cluster.node(4).log().contains("snapshot installed"), "it came by entries");
    drop(calls);

    // By a snapshot: the beginning of the log is gone.
    let has_two = |cluster: &Cluster| cluster.node(leader).log().contains("sequence=2");
    in_time("the second checkpoint", CHECKPOINT_WITHIN, async || has_two(&cluster)).await;
    let begun = Instant::now();
    cluster.describe(5).start().await;
    done(&cluster.cli(&["add-node", "--id", "5"]).await);
    println!("members: a node that needed a snapshot votes after {:.1?}", begun.elapsed());
    assert!(cluster.node(5).log().contains("snapshot installed"), "it came by a snapshot");

    cluster.agree(&[1, 2, 3, 4, 5]).await;
    for id in [4, 5] {
        assert_eq!(cluster.at(id).lease(&kept).await.is(200).str("state"), "held");
    }
}

#[tokio::test]
async fn nodes_that_join_at_the_same_time_all_vote() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    for id in [4, 5, 6] {
        cluster.describe(id).start().await;
    }
    let add = async |id: &str| done(&cluster.cli(&["add-node", "--id", id]).await);
    tokio::join!(add("4"), add("5"), add("6"));
    let voters = cluster.at(cluster.leader().await).group().await["voters"].clone();
    assert_eq!(voters, serde_json::json!([1, 2, 3, 4, 5, 6]));
}

/// The command that asked for a change, and the leaders that carry it out, are lost on the way.
#[tokio::test]
async fn a_change_goes_on_without_its_command_and_without_its_leaders() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    cluster.at(1).create("kept", concurrency(1)).await;
    cluster.describe(4).start().await;
    let mut add = tokio::process::Command::new(env!("CARGO_BIN_EXE_ratequeue"));
    add.args(["cluster", "add-node", "--id", "4", "--cluster"])
        .arg(&cluster.file)
        .kill_on_drop(true);
    let mut add = add.spawn().unwrap();
    eventually("it is recorded", || async {
        let views = cluster.at(1).get("/v1/cluster").await.is(200).body.clone();
        let is_known = views["groups"][GLOBAL]["learners"]
            .as_array()
            .is_some_and(|ids| ids.contains(&json!(4)));
        is_known.then_some(())
    })
    .await;
    add.start_kill().unwrap();
    add.wait().await.unwrap();

    let leader = cluster.leader_of(GLOBAL).await;
    cluster.node_mut(leader).kill().await;
    let rest: Vec<u64> = (1..=4).filter(|id| *id != leader).collect();
    voters_are(&cluster, &rest, &[1, 2, 3, 4]).await;
    eventually("nothing is under way", || async {
        let view = cluster.at(4).get("/v1/cluster").await.is(200).body.clone();
        (view["changes"] == json!([]) && view["groups"][GLOBAL]["leader"].is_u64()).then_some(())
    })
    .await;
    cluster.node_mut(leader).start().await;
    cluster.at(4).create("by-the-new-one", concurrency(1)).await;
    done(&cluster.cli(&["rebalance"]).await);
}
