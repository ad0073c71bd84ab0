//! A whole region is gone: the others do not notice, and global resources go on as soon as the
//! global group has a leader.

use std::time::{Duration, Instant};

use serde_json::json;

use super::wan::{GLOBAL_ELECTION_MAX_MS, Wan};
use super::{REGIONS, wan};
use crate::cluster::GLOBAL;
use crate::harness::concurrency;
use crate::load::{Limits, Load};
use crate::turn::Turn;

const LIMITS: Limits = Limits { slots: 5, rate: 100, window: Duration::from_millis(500) };
const CALLERS: usize = 6;

/// A lease that nobody renews, an election, and what it takes to hear of it: twice the election
/// timeout and half a second, says the design, and the printed figure tells. What is asserted
/// leaves room for a machine that is busy, and for a second election.
const GLOBAL_GAP_MAX: Duration = Duration::from_millis(GLOBAL_ELECTION_MAX_MS * 4 + 500);
/// A region that has lost nobody only shares the machine with those that elect.
const LOCAL_GAP_MAX: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn the_loss_of_a_region_is_survived() {
    let _turn = Turn::alone();
    let Some((_wan, mut cluster)) = Wan::with_cluster().await else { return };
    let leader = cluster.leader_of(GLOBAL).await;
    let lost = cluster.region_of(leader).to_owned();
    let rest: Vec<&str> = REGIONS.into_iter().filter(|region| *region != lost).collect();
    let body = json!({"placement": GLOBAL, "limits": LIMITS.json()});
    cluster.at(1).put("/v1/resources/everybodys", body).await.is(201);
    cluster
        .at(1)
        .put("/v1/resources/kept", json!({"placement": GLOBAL, "limits": concurrency(1)}))
        .await
        .is(201);
    let kept = cluster.at(4).granted("kept", json!({"ttl_ms": 600_000})).await.id();
    let (mut locals, mut global) = (Vec::new(), None);
    for region in &rest {
        let (ids, urls) = (cluster.ids_in(region), cluster.urls(cluster.ids_in(region)));
        cluster.at(ids[0]).create(region, LIMITS.json()).await;
        locals.push(Load::start(&urls, region, CALLERS));
        match &mut global {
            None => global = Some(Load::start(&urls, "everybodys", CALLERS)),
            Some(load) => load.more(&urls, "everybodys", CALLERS),
        }
    }
    let global = global.unwrap();
    global.goes_on(20).await;

    let at = Instant::now();
    for id in cluster.ids_in(&lost) {
        cluster.node_mut(id).kill().await;
    }
    global.goes_on(10).await;
    let went_on = Instant::now();
    for load in &locals {
        load.goes_on(50).await;
    }
    let door = cluster.ids_in(rest[0])[1];
    assert_eq!(cluster.at(door).lease(&kept).await.is(200).str("state"), "held");
    cluster.at(door).put("/v1/resources/new", json!({"limits": concurrency(1)})).await.is(201);
    for id in cluster.ids_in(&lost) {
        cluster.node_mut(id).start().await;
    }
    for id in cluster.ids_in(&lost) {
        cluster.node(id).ready().await;
    }

    let story = global.stop().await;
    story.nothing_failed();
    story.kept(LIMITS);
    let gap = story.longest_gap(at, went_on);
    println!(
        "loss: {lost} with the global leader: global gap {gap:.2?} at {} ms",
        wan::ROUND_TRIP_MS
    );
    assert!(gap <= GLOBAL_GAP_MAX, "global resources stood still for {gap:.0?}");
    for (load, region) in locals.into_iter().zip(rest) {
        let story = load.stop().await;
        story.nothing_failed();
        story.kept(LIMITS);
        let gap = story.longest_gap(at, went_on);
        println!("loss: {region}: longest gap {gap:.0?}");
        assert!(gap <= LOCAL_GAP_MAX, "{region} has noticed: {gap:.0?}");
    }
    cluster.agree_on(GLOBAL, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
}
