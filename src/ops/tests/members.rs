//! Members come, go, are replaced and are lost, in any order.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use ratequeue_api::cluster::NodeView;
use ratequeue_raft::{Address, NodeId, tolerated_losses};

use super::super::{global_voters, next_voters};
use super::cluster::Cluster;
use super::{Seen, sequences};

/// Steps of a sequence, and those at its end that everything has to be done within.
const STEPS: usize = 40;
const STEPS_TO_THE_END: usize = 60;

fn any<T: Copy>(random: &mut StdRng, of: impl IntoIterator<Item = T>) -> Option<T> {
    let of: Vec<T> = of.into_iter().collect();
    (!of.is_empty()).then(|| of[random.random_range(0..of.len())])
}

/// Voters a region.
fn by_region<'a>(
    voters: &BTreeSet<NodeId>,
    members: impl IntoIterator<Item = &'a NodeView>,
) -> BTreeMap<&'a str, usize> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for node in members {
        *count.entry(&node.region).or_default() += usize::from(voters.contains(&node.id));
    }
    count
}

/// No region has so many voters that without it there is no majority.
fn survives_each_region(voters: &BTreeSet<NodeId>, regions: &BTreeMap<&str, usize>) -> bool {
    regions.values().all(|count| (voters.len() - count) * 2 > voters.len())
}

/// One thing that people, nodes or leaders do.
fn step(cluster: &mut Cluster, random: &mut StdRng) -> Option<&'static str> {
    let members = || cluster.members.keys().copied();
    let region = format!("r{}", random.random_range(0..6));

    let said = match random.random_range(0..20) {
        0..=1 => {
            let node = cluster.start(&region);
            cluster.add(&node).then_some("added")
        }
        2 => {
            // One that was started before, and may be a member that is on its way.
            let node = any(random, cluster.nodes.keys().copied())?;
            cluster.add(&cluster.nodes[&node].clone()).then_some("added")
        }
        3..=4 => {
            let (id, shrink) = (any(random, members())?, random.random_ratio(1, 3));
            let said = if shrink { "removed with shrink" } else { "removed" };
            cluster.remove(id, shrink).then_some(said)
        }
        5..=6 => {
            let old = any(random, members())?;
            let new = cluster.start(&cluster.nodes[&old].region.clone());
            cluster.replace(old, &new).then_some("replaced")
        }
        7 => {
            let id = any(random, cluster.alive.iter().copied())?;
            cluster.alive.remove(&id).then_some("lost")
        }
        8 if random.random_ratio(1, 3) => {
            // A whole region.
            let nodes = &cluster.nodes;
            cluster.alive.retain(|id| nodes[id].region != region);
            Some("lost a region")
        }
        8..=10 => {
            let nodes = &cluster.nodes;
            let back = nodes.values().filter(|node| node.region == region).map(|node| node.id);
            cluster.alive.extend(back);
            Some("back")
        }
        11 => {
            let id = any(random, cluster.nodes.keys().copied())?;
            cluster.alive.insert(id).then_some("back")
        }
        12..=15 => {
            let may_die = cluster.global.floor > 0;
            cluster.step_region(&region, may_die).then_some("step of a region")
        }
        _ => cluster.step_global(true).then_some("step of the global group"),
    };

    cluster.elect();
    said
}

/// What must hold after every step.
fn check(cluster: &Cluster) {
    for group in cluster.regions.values().chain([&cluster.global]) {
        let tolerates = tolerated_losses(group.voters.len());
        assert!(
            tolerates >= group.floor || group.voters.is_empty(),
            "{group:?} tolerates {tolerates} losses"
        );
    }
    for id in &cluster.global.all_voters() {
        assert!(cluster.members.contains_key(id), "node {id} votes and is in no book");
    }
    let is_under_way = |address: &&Address| address.0.split(' ').count() > 3;
    let under_way = cluster.members.values().filter(is_under_way).count();
    assert!(under_way <= 1, "{under_way} changes are under way");
}

/// Everybody is back, and everything that was under way comes to its end. A member without a vote
/// in its region can be given it.
fn check_end(cluster: &mut Cluster) {
    cluster.alive = cluster.nodes.keys().copied().collect();
    cluster.elect();
    come_to_the_end(cluster);
    let without_vote: Vec<NodeView> = {
        let votes = |node: &NodeView| cluster.regions[&node.region].voters.contains(&node.id);
        cluster.book().nodes().filter(|node| !votes(node)).cloned().collect()
    };
    for node in without_vote {
        assert!(cluster.add(&node), "node {} cannot be added", node.id);
        come_to_the_end(cluster);
    }

    let book = cluster.book();
    for (region, group) in &cluster.regions {
        let members = book.region(region);
        assert!(group.voters == members || members.is_empty(), "{group:?} of {members:?}");
    }

    // Whoever has a vote keeps it only where it would cost something to give it to another one.
    let (now, wanted) = (&cluster.global.voters, global_voters(book.nodes(), cluster.per_region));
    assert!(
        *now == wanted || tolerated_losses(wanted.len()) < tolerated_losses(now.len()),
        "{now:?} instead of {wanted:?}"
    );
}

fn come_to_the_end(cluster: &mut Cluster) {
    let regions: Vec<String> = (0..6).map(|nth| format!("r{nth}")).collect();
    let mut idle = 0;
    for _ in 0..STEPS_TO_THE_END {
        let mut has_stepped = false;
        for region in &regions {
            has_stepped |= cluster.step_region(region, false);
        }
        has_stepped |= cluster.step_global(false);
        cluster.elect();
        check(cluster);
        // Leadership that is handed over is no step, but one follows it.
        idle = if has_stepped { 0 } else { idle + 1 };
        if idle > 2 {
            break;
        }
    }

    let groups = || cluster.regions.values().chain([&cluster.global]);
    let under_way: Vec<_> = cluster.book().changes().collect();
    assert!(under_way.is_empty(), "no end: {under_way:?} {:?}", groups().collect::<Vec<_>>());
    for group in groups() {
        assert_eq!(group.before, None, "a change of voters is left half way in {}", group.name);
    }
}

#[test]
fn changes_of_members_cost_nothing_that_was_not_asked_for() {
    let enough = ["added", "removed", "removed with shrink", "replaced", "lost", "half way"];
    sequences("changes_of_members", &enough, |random, seen| {
        let mut cluster = Cluster::new(random);
        for _ in 0..STEPS {
            if let Some(what) = step(&mut cluster, random) {
                *seen.entry(what).or_default() += 1;
            }
            check(&cluster);
            let groups = cluster.regions.values().chain([&cluster.global]);
            if groups.into_iter().any(|group| group.before.is_some()) {
                *seen.entry("half way").or_default() += 1;
            }
        }
        check_end(&mut cluster);
    });
}

/// Any members, in any order.
fn members(random: &mut StdRng) -> Vec<NodeView> {
    let mut ids: Vec<NodeId> = (1..100).collect();
    ids.shuffle(random);
    let mut members = Vec::new();
    for nth in 0..random.random_range(1..=5) {
        for id in ids.split_off(ids.len() - random.random_range(1..=5)) {
            let (http, peer) = (format!("http://n{id}:1"), format!("n{id}:2"));
            members.push(NodeView { id, region: format!("r{nth}"), http, peer });
        }
    }
    members
}

#[test]
fn the_choice_of_global_voters_depends_on_the_members_alone() {
    sequences("the_choice_of_global_voters", &["three regions"], |random, seen: &mut Seen| {
        let mut members = members(random);
        let per_region = random.random_ratio(1, 2).then(|| random.random_range(1..=3));
        let voters = global_voters(&members, per_region);
        let regions = by_region(&voters, &members);

        // Neither the order of the nodes nor names and addresses matter.
        let mut others = members.clone();
        others.shuffle(random);
        for node in &mut others {
            node.region = format!("s{}", 9 - node.region[1..].parse::<u64>().unwrap());
            node.peer = format!("elsewhere:{}", node.id);
        }
        assert_eq!(global_voters(&others, per_region), voters);
        assert_eq!(next_voters(&voters, &others, per_region, None), None);

        if members.len() >= 3 && per_region.is_none() {
            assert!(tolerated_losses(voters.len()) > 0, "{voters:?} of {members:?}");
        }

        // Every region has a voter, and with three no region takes the majority.
        assert!(regions.values().all(|count| *count > 0), "{regions:?}");
        if regions.len() >= 3 {
            *seen.entry("three regions").or_default() += 1;
            assert!(survives_each_region(&voters, &regions), "{per_region:?}: {regions:?}");
        }

        // From voters that other members had, votes move only where it costs nothing.
        let before = global_voters(&members, per_region);
        members.pop();
        if let Some(next) = next_voters(&before, &members, per_region, None) {
            assert_eq!(next, global_voters(&members, per_region));
            assert!(tolerated_losses(next.len()) >= tolerated_losses(before.len()));
        }
    });
}
