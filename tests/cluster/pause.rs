//! A leader that stands still, and wakes up in a cluster that has gone on without it: it grants
//! nothing that the others do not know of.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::harness::until;
use crate::load::{Limits, Load};
use crate::turn::Turn;

const LIMITS: Limits = Limits { slots: 10, rate: 25, window: Duration::from_millis(100) };
const FAITHFUL: usize = 6;
const OTHERS: usize = 16;
const PAUSE: Duration = Duration::from_secs(5);
/// Leases that are looked at, at a time.
const LOOKS: usize = 16;

#[tokio::test]
async fn a_leader_that_stood_still_grants_nothing_of_its_own() {
    let _turn = Turn::alone();
    let cluster = Cluster::formed(3).await;
    cluster.at(1).create("work", LIMITS.json()).await;
    let (leader, others) = (cluster.leader().await, cluster.followers().await);
    // Some callers stay with the leader while it stands still, and keep what they hold. The others
    // do not know it.
    let mut load = Load::start(&cluster.urls([leader]), "work", FAITHFUL);
    load.more(&cluster.urls(others.iter().copied()), "work", OTHERS);
    load.goes_on(100).await;

    let paused = Instant::now();
    cluster.node(leader).signal(Signal::STOP);
    load.goes_on(20).await;
    let went_on = Instant::now();
    until(paused + PAUSE).await;
    cluster.node(leader).signal(Signal::CONT);
    cluster.node(leader).ready().await;
    cluster.caught_up(leader).await;
    load.goes_on(100).await;

    let story = load.stop().await;
    println!(
        "pause: {} grants, gap {:.0?}",
        story.grants.len(),
        story.longest_gap(paused, went_on)
    );
    story.nothing_failed();
    story.kept(LIMITS);
    let last = cluster.at(cluster.leader().await);
    let looks =
        story.grants.iter().map(|grant| async move { (last.lease(&grant.lease).await, grant) });
    let mut looks = futures::stream::iter(looks).buffer_unordered(LOOKS);
    while let Some((seen, grant)) = looks.next().await {
        let state = seen.is(200).str("state").to_owned();
        assert!(state == "held" || state == "released", "{grant:?} is {state}");
        assert_eq!(seen.u64("fencing_token"), grant.token);
    }
    drop(looks);
    cluster.agree(&[1, 2, 3]).await;
    cluster.verify("work", &story).await;
}
