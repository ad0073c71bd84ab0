//! Regions that cannot reach each other: each goes on with what is its own, and nobody grants what
//! is everybody's without a majority of the global voters.

use std::time::{Duration, Instant};

use serde_json::json;

use super::wan::{GLOBAL_ELECTION_MAX_MS, ROUND_TRIP_MS, Wan};
use super::{DOORS, REGIONS};
use crate::cluster::{Cluster, GLOBAL};
use crate::harness::{Answer, concurrency, eventually};
use crate::load::{Limits, Load, Story, median};
use crate::turn::Turn;

/// Acquires on each region's own resource while all links are cut: 10,000 with an optimised build
/// (`cargo test --release`); nine others on a small machine would take minutes.
const LOCAL_GRANTS: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const LOCAL_CALLERS: usize = 6;
const LOCAL: Limits = Limits { slots: 1_000, rate: 1_000_000, window: Duration::from_millis(50) };
const GLOBAL_CALLERS: usize = 4;
const EVERYBODYS: Limits = Limits { slots: 5, rate: 20, window: Duration::from_millis(500) };

/// What was decided before the cut may still be on its way to its caller.
const ON_ITS_WAY: Duration = Duration::from_millis(1_000);
/// After that a node knows that it is cut off, and every answer is quick.
const KNOWN_AFTER: Duration = Duration::from_millis(GLOBAL_ELECTION_MAX_MS * 4);
/// An election timeout, and as much again for a machine that is busy with the callers of all
/// regions. The figures are printed.
const ANSWER_WITHIN: Duration = Duration::from_millis(GLOBAL_ELECTION_MAX_MS * 2);

/// Callers of every region's own resource, each at the nodes of its region.
async fn local_loads(cluster: &Cluster) -> Vec<Load> {
    let mut loads = Vec::new();
    for region in REGIONS {
        let ids = cluster.ids_in(region);
        cluster.at(ids[0]).create(region, LOCAL.json()).await;
        loads.push(Load::start(&cluster.urls(ids), region, LOCAL_CALLERS));
    }
    loads
}

/// Callers of one global resource in each region, at the nodes of that region.
async fn global_load(cluster: &Cluster) -> Load {
    // Slots whose holders are cut off for longer than they try to release them are free again soon.
    let lease = json!({"default_ttl_ms": 30_000});
    let body = json!({"placement": GLOBAL, "limits": EVERYBODYS.json(), "lease": lease});
    cluster.at(1).put("/v1/resources/everybodys", body).await.is(201);
    let mut load =
        Load::start(&cluster.urls(cluster.ids_in(REGIONS[0])), "everybodys", GLOBAL_CALLERS);
    for region in &REGIONS[1..] {
        load.more(&cluster.urls(cluster.ids_in(region)), "everybodys", GLOBAL_CALLERS);
    }
    load
}

/// Nothing happened, says the node, and soon; how soon.
async fn refused(answer: impl Future<Output = Answer>) -> Duration {
    let begun = Instant::now();
    let answer = answer.await;
    answer.problem(503, "no-quorum");
    let took = begun.elapsed();
    assert!(took <= ANSWER_WITHIN, "it took {took:.0?} to say no-quorum: {}", answer.call);
    took
}

/// Everything that a region cannot decide by itself is refused at each of its nodes.
async fn is_cut_off(cluster: &Cluster, region: &str) {
    let other = REGIONS.into_iter().find(|other| *other != region).unwrap();
    let mut took = Vec::new();
    for id in cluster.ids_in(region) {
        let node = cluster.at(id);
        took.push(refused(node.acquire("everybodys", json!({"ttl_ms": 1_000}))).await);
        took.push(refused(node.acquire(other, json!({"ttl_ms": 1_000}))).await);
        took.push(refused(node.put("/v1/resources/new", json!({"limits": concurrency(1)}))).await);
        took.push(refused(node.acquire("never-there", json!({}))).await);
        node.get("/readyz").await.is(200);
        let view = node.get("/v1/cluster").await.is(200).body.clone();
        assert_eq!(
            (&view["regions"][region]["reachable"], &view["regions"][other]["reachable"]),
            (&json!(true), &json!(false))
        );
        let list = node.get("/v1/resources").await.is(200).body["unreachable"].clone();
        assert!(list.as_array().is_some_and(|regions| regions.contains(&json!(other))), "{list}");
    }

    took.sort_unstable();
    println!(
        "cut: {region} says no-quorum within {:.0?} (median), {:.0?} (longest)",
        median(&took),
        took[took.len() - 1]
    );
}

/// After the cuts all nodes come to the same states, and every node decides everything again.
async fn heals(cluster: &Cluster) {
    for door in 1..=9 {
        for name in REGIONS.into_iter().chain(["everybodys"]) {
            eventually(&format!("{name} is granted through node {door}"), || async {
                (cluster.at(door).acquire(name, json!({"ttl_ms": 1_000})).await.status == 200)
                    .then_some(())
            })
            .await;
        }
    }
    cluster.agree_on(GLOBAL, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    for region in REGIONS {
        cluster.agree_on(region, &cluster.ids_in(region)).await;
    }
}

/// What failed, failed for want of a majority, or because its caller could not be heard for so long
/// that its place or lease was given up.
fn failed_for_a_reason(story: &Story) {
    // A node that was asked when the links were cut may not have said in time what it does not
    // know.
    let reasons =
        ["no-quorum", "unknown-outcome", "it is not known whether", "lease-ended", "lease-expired"];
    let reason = |text: &String| reasons.iter().any(|code| text.contains(code));
    let other = story.failures.iter().find(|failure| !reason(failure));
    assert!(other.is_none(), "{other:?}");
}

#[tokio::test]
async fn with_all_links_cut_each_region_goes_on_by_itself() {
    let _turn = Turn::alone();
    let Some((wan, cluster)) = Wan::with_cluster().await else { return };
    let locals = local_loads(&cluster).await;
    let global = global_load(&cluster).await;
    global.goes_on(20).await;

    wan.cut_all();
    let cut = Instant::now();
    tokio::time::sleep(KNOWN_AFTER).await;
    for region in REGIONS {
        is_cut_off(&cluster, region).await;
    }
    for load in &locals {
        load.has_granted(cut, LOCAL_GRANTS).await;
    }
    let healed = Instant::now();
    wan.heal();
    global.goes_on(20).await;
    println!(
        "cut: {LOCAL_GRANTS} grants in each region while all links were cut, for {:.0?}",
        healed - cut
    );

    for (load, region) in locals.into_iter().zip(REGIONS) {
        let story = load.stop().await;
        let gap = story.longest_gap(cut, healed);
        println!("cut: {region}: {} grants, longest gap {gap:.0?}", story.grants.len());
        story.nothing_failed();
        story.kept(LOCAL);
    }
    let story = global.stop().await;
    let meanwhile = story
        .grants
        .iter()
        .filter(|grant| grant.came > cut + ON_ITS_WAY && grant.came < healed)
        .count();
    println!(
        "cut: global: {} grants, {meanwhile} of them while all links were cut",
        story.grants.len()
    );
    assert_eq!(meanwhile, 0, "nobody has a majority");
    failed_for_a_reason(&story);
    story.kept(EVERYBODYS);
    heals(&cluster).await;
}

#[tokio::test]
async fn global_resources_go_on_where_their_majority_is() {
    let _turn = Turn::alone();
    let Some((wan, cluster)) = Wan::with_cluster().await else { return };
    let locals = local_loads(&cluster).await;
    let global = global_load(&cluster).await;
    global.goes_on(20).await;
    // The worst region to lose.
    let leader = cluster.leader_of(GLOBAL).await;
    let lost = cluster.region_of(leader).to_owned();
    let rest: Vec<&str> = REGIONS.into_iter().filter(|region| *region != lost).collect();
    let elsewhere =
        Load::start(&cluster.urls(cluster.ids_in(rest[0])), "everybodys", GLOBAL_CALLERS);

    wan.cut(&lost);
    let cut = Instant::now();
    elsewhere.goes_on(10).await;
    let gap = cut.elapsed();
    tokio::time::sleep(KNOWN_AFTER.saturating_sub(cut.elapsed())).await;
    is_cut_off(&cluster, &lost).await;
    for door in DOORS.into_iter().filter(|door| cluster.region_of(*door) != lost) {
        cluster
            .at(door)
            .put(&format!("/v1/resources/new-{door}"), json!({"limits": concurrency(1)}))
            .await
            .is(201);
    }
    elsewhere.goes_on(20).await;
    let healed = Instant::now();
    wan.heal();
    println!(
        "cut: {lost} with the global leader; ten global grants elsewhere after {gap:.0?} at {ROUND_TRIP_MS} ms"
    );

    let others = elsewhere.stop().await;
    others.nothing_failed();
    println!(
        "cut: the longest gap of global grants elsewhere {:.1?}",
        others.longest_gap(cut, healed)
    );
    for (load, region) in locals.into_iter().zip(REGIONS) {
        let story = load.stop().await;
        println!("cut: {region}: longest gap {:.0?}", story.longest_gap(cut, healed));
        story.nothing_failed();
        story.kept(LOCAL);
    }
    let story = global.stop().await;
    failed_for_a_reason(&story);
    story.and(others).kept(EVERYBODYS);
    heals(&cluster).await;
}
