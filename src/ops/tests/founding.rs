//! Clusters that are formed with files that are whole, partial, or not the same on all nodes.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use ratequeue_api::cluster::{ClusterView, Founding, GroupView, NodeView};
use ratequeue_raft::NodeId;

use super::super::founding::{
    agreement, check, check_begun, forms_global, has_leader, region_to_form,
};
use super::super::global_voters;
use super::cluster::{empty_group, empty_view};
use super::sequences;
use crate::config::GLOBAL;
use crate::node::peer_calls::PeerError;

const STEPS: usize = 40;

/// A node that may found a cluster.
struct Founder {
    node: NodeView,
    /// What the file says that it was started with.
    file: Founding,
    is_alive: bool,
    cluster_id: Option<u64>,
    founding: Option<Founding>,
    /// The voters of its region's group and of the global one, as it knows.
    region: BTreeSet<NodeId>,
    global: BTreeSet<NodeId>,
}

struct World {
    founders: BTreeMap<NodeId, Founder>,
    whole: Founding,
    /// The file that some nodes have instead.
    other: Founding,
    /// Every global group that was ever formed, by its founding nodes; and every region's.
    globals: Vec<BTreeSet<NodeId>>,
    regions: Vec<(String, BTreeSet<NodeId>)>,
    ids: u64,
}

fn ids(nodes: &[NodeView]) -> BTreeSet<NodeId> {
    nodes.iter().map(|node| node.id).collect()
}

/// The file with a difference, or without some of its nodes.
fn other_file(random: &mut StdRng, whole: &Founding) -> Founding {
    let mut file = whole.clone();
    match random.random_range(0..4) {
        0 => file.nodes.retain(|_| random.random_ratio(2, 3)),
        1 => {
            let region = whole.nodes[random.random_range(0..whole.nodes.len())].region.clone();
            file.nodes.retain(|node| node.region == region);
        }
        2 => {
            let at = random.random_range(0..file.nodes.len());
            file.nodes[at].peer = "elsewhere:1".to_owned();
        }
        _ => file.voters_per_region = Some(3),
    }
    if file.nodes.is_empty() { whole.clone() } else { file }
}

impl World {
    fn new(random: &mut StdRng) -> Self {
        let mut free: Vec<NodeId> = (1..50).collect();
        free.shuffle(random);
        let mut nodes = Vec::new();
        for nth in 0..random.random_range(1..=3) {
            for id in free.split_off(free.len() - random.random_range(1..=3)) {
                let (http, peer) = (format!("http://n{id}:1"), format!("n{id}:2"));
                nodes.push(NodeView { id, region: format!("r{nth}"), http, peer });
            }
        }
        nodes.sort_by_key(|node| node.id);
        let whole = Founding { nodes, voters_per_region: None, round_trip_ms: 150 };

        let other = other_file(random, &whole);
        let mut founders = BTreeMap::new();
        for node in &whole.nodes {
            let mut file = match random.random_range(0..8) {
                0 => other_file(random, &whole),
                1..=3 => other.clone(),
                _ => whole.clone(),
            };
            if !ids(&file.nodes).contains(&node.id) {
                // A node is in its own file.
                file = whole.clone();
            }
            let founder = Founder {
                node: node.clone(),
                file,
                is_alive: true,
                cluster_id: None,
                founding: None,
                region: BTreeSet::new(),
                global: BTreeSet::new(),
            };
            founders.insert(node.id, founder);
        }
        Self { founders, whole, other, globals: Vec::new(), regions: Vec::new(), ids: 0 }
    }

    /// As `adopt` does on the node.
    fn adopt(&mut self, id: NodeId, cluster_id: u64, founding: Option<&Founding>) -> Option<u64> {
        let founder = self.founders.get_mut(&id).filter(|founder| founder.is_alive)?;
        if founder.region.is_empty() && founder.global.is_empty() {
            let is_adopted = founder.cluster_id.is_some();
            check(is_adopted, founder.founding.as_ref(), &founder.file, founding).ok()?;
            if founding.is_some() || !is_adopted {
                founder.founding = founding.cloned();
            }
        } else {
            let begun = founder.founding.as_ref().filter(|_| founder.global.is_empty());
            check_begun(begun, founding).ok()?;
        }
        Some(*founder.cluster_id.get_or_insert(cluster_id))
    }

    /// `cluster init` with this file, which may break off.
    fn init(&mut self, file: &Founding, upto: usize) -> bool {
        let known = file.nodes.iter().find_map(|node| self.founders.get(&node.id)?.cluster_id);
        self.ids += 1;
        let mut cluster_id = known.unwrap_or(self.ids);
        for (nth, node) in file.nodes.iter().enumerate().take(upto) {
            match self.adopt(node.id, cluster_id, Some(file)) {
                Some(theirs) if nth == 0 && known.is_none() => cluster_id = theirs,
                Some(theirs) if theirs == cluster_id => {}
                _ => return false,
            }
        }
        upto >= file.nodes.len()
    }

    fn view(&self, id: NodeId) -> ClusterView {
        let founder = &self.founders[&id];
        let group = |voters: &BTreeSet<NodeId>| GroupView {
            leader: voters.first().copied(),
            voters: voters.iter().copied().collect(),
            ..empty_group()
        };
        let own = (founder.node.region.clone(), group(&founder.region));
        let groups = [own, (GLOBAL.to_owned(), group(&founder.global))].into();
        let founding = founder.founding.clone().filter(|_| founder.global.is_empty());
        ClusterView { founding, ..empty_view(id, groups) }
    }

    /// As `step` does on the node. Only nodes of the same cluster answer each other.
    fn step(&mut self, id: NodeId) {
        let founder = &self.founders[&id];
        let Some(founding) = founder.founding.clone().filter(|_| founder.is_alive) else { return };
        if !founder.global.is_empty() {
            return;
        }
        let cluster_id = founder.cluster_id;
        let asked = founding.nodes.iter().map(|node| {
            let there = self.founders.get(&node.id).filter(|there| {
                there.is_alive && there.cluster_id == cluster_id && there.node.peer == node.peer
            });
            (node.clone(), there.map(|there| self.view(there.node.id)).ok_or(PeerError::Failed))
        });
        let Ok(views) = agreement(&founding, asked.collect()) else { return };

        let (region, own) = (founder.node.region.clone(), founder.region.clone());
        if let (true, Some(here)) = (own.is_empty(), region_to_form(&founding, id, &region, &views))
        {
            let voters: BTreeSet<NodeId> = here.into_iter().map(|node| node.id).collect();
            self.regions.push((region, voters.clone()));
            for voter in &voters {
                self.founders.get_mut(voter).unwrap().region = voters.clone();
            }
        }
        if forms_global(&founding, id, &views) && views.iter().all(has_leader) {
            self.globals.push(ids(&founding.nodes));
            let voters = global_voters(&founding.nodes, founding.voters_per_region);
            for node in &founding.nodes {
                self.founders.get_mut(&node.id).unwrap().global = voters.clone();
            }
        }
    }

    fn come_to_the_end(&mut self) {
        for _ in 0..4 {
            for node in self.whole.nodes.clone() {
                self.step(node.id);
                self.check();
            }
        }
    }

    /// No node is in two clusters, and who is formed into a group is in it by its own file.
    fn check(&self) {
        let mut seen = BTreeSet::new();
        for cluster in &self.globals {
            for id in cluster {
                assert!(seen.insert(*id), "node {id} is in two of {:?}", self.globals);
            }
        }
        let mut seen = BTreeSet::new();
        for (region, voters) in &self.regions {
            for id in voters {
                assert!(seen.insert(*id), "node {id} is in two of {:?}", self.regions);
                assert_eq!(self.founders[id].node.region, *region);
            }
        }
    }
}

#[test]
fn forming_makes_one_cluster_whatever_the_files_are() {
    let enough = ["formed", "formed at once", "init broken off", "init refused", "joining"];
    sequences("forming_makes_one_cluster", &enough, |random, seen| {
        let mut world = World::new(random);
        let mut count = |what| *seen.entry(what).or_default() += 1;
        let all: Vec<NodeId> = world.founders.keys().copied().collect();
        for _ in 0..STEPS {
            let id = all[random.random_range(0..all.len())];
            match random.random_range(0..12) {
                0 | 5 => {
                    let file = match random.random_range(0..5) {
                        0 => other_file(random, &world.whole),
                        1..=2 => world.other.clone(),
                        _ => world.whole.clone(),
                    };
                    let upto = random.random_range(0..=file.nodes.len() + 2);
                    let done = world.init(&file, upto);
                    count(match (done, upto < file.nodes.len()) {
                        (true, _) => "init",
                        (false, true) => "init broken off",
                        (false, false) => "init refused",
                    });
                }
                1 if world.globals.len() == 1 && random.random_ratio(1, 2) => {
                    // As `cluster add-node` does first; it may break off then.
                    let first = world.globals[0].first().copied().unwrap();
                    let cluster_id = world.founders[&first].cluster_id.unwrap();
                    if !world.globals[0].contains(&id) {
                        world.adopt(id, cluster_id, None);
                    }
                }
                2 if random.random_ratio(1, 3) => {
                    // Adopted to join a cluster of which this test knows nothing.
                    if world.adopt(id, 1_000, None).is_some() {
                        count("joining");
                    }
                }
                3 => {
                    let founder = world.founders.get_mut(&id).unwrap();
                    founder.is_alive = !founder.is_alive;
                }
                4 => {
                    // Started again with the file that all should have.
                    let whole = world.whole.clone();
                    world.founders.get_mut(&id).unwrap().file = whole;
                }
                _ => world.step(id),
            }
            world.check();
        }
        finish(&mut world, &mut count);
    });
}

/// Everybody is back, with the same file: `init` forms the cluster, unless a node says why not.
fn finish(world: &mut World, count: &mut impl FnMut(&'static str)) {
    let whole = world.whole.clone();
    for founder in world.founders.values_mut() {
        founder.is_alive = true;
        founder.file = whole.clone();
    }
    let before = world.globals.len();
    let is_admitted = world.init(&whole, usize::MAX);
    world.come_to_the_end();
    let begun = world.founders.values().find(|founder| {
        !founder.region.is_empty() && founder.global.is_empty() && founder.founding.is_some()
    });
    if let Some(file) = begun.and_then(|founder| founder.founding.clone()) {
        // The cluster was begun with another file, and only with that one it is formed.
        assert!(!is_admitted, "a file is admitted with which nothing is formed");
        for node in &file.nodes {
            world.founders.get_mut(&node.id).unwrap().file = file.clone();
        }
        assert!(world.init(&file, usize::MAX), "nor is the file with which it was begun");
        world.come_to_the_end();
        count("begun with another file");
    }

    // Whoever began to form something formed all of it.
    for founder in world.founders.values() {
        let (region, global) = (&founder.region, &founder.global);
        assert!(region.is_empty() == global.is_empty(), "node {}: {region:?}", founder.node.id);
        assert!(region.is_empty() || region.contains(&founder.node.id), "{region:?}");
    }

    let in_clusters: usize = world.globals.iter().map(BTreeSet::len).sum();
    if before == 1 && world.globals[0].len() == whole.nodes.len() {
        count("formed");
    } else if is_admitted {
        // A cluster that was formed of some of the nodes takes the others by `add-node`, which says
        // which of them need an empty folder first.
        let is_whole = in_clusters == whole.nodes.len();
        assert!(is_whole || before > 0, "init was admitted, and forms nothing");
        count(match (before, is_whole) {
            (0, _) => "formed at once",
            (_, true) => "formed",
            (_, false) => "formed of some",
        });
    } else {
        // A node has voted, was adopted to join a cluster, or to found another one: it says so.
        let founders = || world.founders.values();
        let ids: BTreeSet<u64> = founders().filter_map(|founder| founder.cluster_id).collect();
        let odd = ids.len() > 1
            || founders().any(|founder| {
                let joins = founder.cluster_id.is_some() && founder.founding.is_none();
                joins || !founder.global.is_empty() || !founder.region.is_empty()
            });
        assert!(odd, "init is refused without a reason");
        count("refused at the end");
    }
}
