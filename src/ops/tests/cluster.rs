//! A cluster in memory: nodes that live or do not, and groups of which somebody leads or nobody.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use ratequeue_api::cluster::{ClusterView, GroupView, NodeView, Role};
use ratequeue_raft::{Address, NodeId, VoterChange, tolerated_losses};

use super::super::book::{AddressBook, Entry};
use super::super::global_voters;
use super::super::region::Standing;
use super::super::survey::RegionReport;
use crate::config::GLOBAL;
use crate::node::peer_calls::PeerError;

/// A group: its members, and how a change of its voters stands.
#[derive(Debug, Clone, Default)]
pub struct Group {
    pub name: String,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// The voters before a change that is half way: both sets vote.
    pub before: Option<BTreeSet<NodeId>>,
    pub leader: Option<NodeId>,
    /// Losses that it has to tolerate: as many as it ever did since it was allowed to shrink.
    pub floor: usize,
}

impl Group {
    fn of(name: &str, voters: BTreeSet<NodeId>) -> Self {
        let floor = tolerated_losses(voters.len());
        Self { name: name.to_owned(), voters, floor, ..Self::default() }
    }

    /// All that vote, as a node says that is in it.
    pub fn all_voters(&self) -> BTreeSet<NodeId> {
        self.before.iter().flatten().chain(&self.voters).copied().collect()
    }

    pub fn standing(&self) -> Standing {
        Standing {
            name: self.name.clone(),
            voters: self.all_voters(),
            learners: self.learners.clone(),
            is_joint: self.before.is_some(),
        }
    }

    /// What a node says of it.
    fn view(&self, id: NodeId) -> GroupView {
        GroupView {
            role: if self.leader == Some(id) { Role::Leader } else { Role::Follower },
            leader: self.leader,
            voters: self.all_voters().into_iter().collect(),
            settled: self.before.is_none(),
            learners: self.learners.iter().copied().collect(),
            ..empty_group()
        }
    }

    /// A majority of everybody that has to agree is there.
    pub fn has_majority(&self, alive: &BTreeSet<NodeId>) -> bool {
        let sets = [Some(&self.voters), self.before.as_ref()];
        sets.into_iter().flatten().all(|set| set.intersection(alive).count() * 2 > set.len())
    }

    /// The first half of a change of voters; the second is [`Group::finish`].
    pub fn begin(&mut self, change: &VoterChange, alive: &BTreeSet<NodeId>) -> Result<(), String> {
        let now = self.all_voters();
        let answers = |node| alive.contains(&node);
        let wanted = change.voters(&self.name, &now, answers).map_err(|error| error.to_string())?;
        if wanted == now {
            return Ok(());
        }
        assert!(self.before.is_none(), "{}: a change on top of one that is half way", self.name);

        let after = tolerated_losses(wanted.len());
        assert!(
            after >= self.floor || change.shrink,
            "{}: from {now:?} to {wanted:?}, and it has to tolerate {} losses",
            self.name,
            self.floor
        );
        self.floor = if change.shrink { after } else { self.floor.max(after) };
        if change.keep {
            self.learners.extend(now.difference(&wanted));
        }
        self.learners.retain(|id| !wanted.contains(id));
        self.before = Some(std::mem::replace(&mut self.voters, wanted));
        Ok(())
    }

    pub fn finish(&mut self) {
        self.before = None;
        // A leader without a vote steps down.
        self.leader = self.leader.filter(|leader| self.voters.contains(leader));
    }
}

/// A cluster, and the nodes that are no members of it yet.
pub struct Cluster {
    pub random: StdRng,
    pub nodes: BTreeMap<NodeId, NodeView>,
    pub alive: BTreeSet<NodeId>,
    /// The members as the log of the global group has them.
    pub members: BTreeMap<NodeId, Address>,
    pub global: Group,
    pub regions: BTreeMap<String, Group>,
    /// Regions in which resources live.
    pub names: BTreeSet<String>,
    pub per_region: Option<u32>,
    /// Ids that were never used.
    pub fresh: Vec<NodeId>,
}

impl Cluster {
    /// One to five regions of one to five nodes each, formed. Ids are in no order.
    pub fn new(random: &mut StdRng) -> Self {
        let mut fresh: Vec<NodeId> = (1..1_000).collect();
        fresh.shuffle(random);
        let per_region = random.random_ratio(2, 5).then(|| random.random_range(1..=3));
        let mut cluster = Self {
            random: rand::SeedableRng::seed_from_u64(random.random()),
            nodes: BTreeMap::new(),
            alive: BTreeSet::new(),
            members: BTreeMap::new(),
            global: Group::default(),
            regions: BTreeMap::new(),
            names: BTreeSet::new(),
            per_region,
            fresh,
        };

        for nth in 0..random.random_range(1..=5) {
            let region = format!("r{nth}");
            let ids = (0..random.random_range(1..=5)).map(|_| cluster.start(&region).id);
            let group = Group::of(&region, ids.collect());
            if random.random_ratio(2, 3) {
                cluster.names.insert(region.clone());
            }
            cluster.regions.insert(region, group);
        }
        for node in cluster.nodes.values() {
            cluster.members.insert(node.id, Entry::settled(node.clone()).address());
        }
        let voters = global_voters(cluster.nodes.values(), per_region);
        cluster.global = Group::of(GLOBAL, voters);
        cluster.elect();
        cluster
    }

    /// A new node, which runs.
    pub fn start(&mut self, region: &str) -> NodeView {
        let id = self.fresh.pop().unwrap();
        let node = NodeView {
            id,
            region: region.to_owned(),
            http: format!("http://n{id}:1"),
            peer: format!("n{id}:2"),
        };
        self.nodes.insert(id, node.clone());
        self.alive.insert(id);
        node
    }

    pub fn book(&self) -> AddressBook {
        AddressBook::of(&self.members)
    }

    pub fn group(&mut self, name: &str) -> &mut Group {
        if name == GLOBAL { &mut self.global } else { self.regions.get_mut(name).unwrap() }
    }

    /// Whoever leads and is gone leads no more; where there is a majority somebody leads.
    pub fn elect(&mut self) {
        for group in self.regions.values_mut().chain([&mut self.global]) {
            let leads = |id: &NodeId| self.alive.contains(id) && group.has_majority(&self.alive);
            group.leader = group.leader.filter(leads);
            if group.leader.is_none() && group.has_majority(&self.alive) {
                let candidates: Vec<_> = group.voters.intersection(&self.alive).copied().collect();
                group.leader = Some(candidates[self.random.random_range(0..candidates.len())]);
            }
        }
    }

    /// What a node says of itself.
    fn view(&self, id: NodeId) -> ClusterView {
        let region = &self.nodes[&id].region;
        let groups = [self.regions.get(region), Some(&self.global)].into_iter().flatten();
        empty_view(id, groups.map(|group| (group.name.clone(), group.view(id))).collect())
    }

    pub fn report(&self, region: &str) -> RegionReport {
        let book = self.book();
        let asked = book.nodes().filter(|node| node.region == region).map(|node| {
            let view = self.alive.contains(&node.id).then(|| self.view(node.id));
            (node.clone(), view.ok_or(PeerError::Failed))
        });
        RegionReport { nodes: asked.collect(), region: region.to_owned() }
    }
}

pub fn empty_view(node: NodeId, groups: BTreeMap<String, GroupView>) -> ClusterView {
    ClusterView {
        name: "c".to_owned(),
        cluster_id: Some("id".to_owned()),
        node,
        regions: BTreeMap::new(),
        groups,
        changes: Vec::new(),
        founding: None,
        round_trip_ms: 0,
    }
}

pub fn empty_group() -> GroupView {
    GroupView {
        role: Role::Follower,
        leader: None,
        term: 1,
        voters: Vec::new(),
        settled: true,
        learners: Vec::new(),
        last_log_index: 0,
        applied_index: 0,
        lag: 0,
        feature_level: 1,
        digest: String::new(),
        followers: BTreeMap::new(),
    }
}

/// What these nodes say of the group of their region, all of them.
pub fn report_of(group: &Group, nodes: &[NodeView]) -> RegionReport {
    let view = |node: &NodeView| {
        let groups = BTreeMap::from([(group.name.clone(), group.view(node.id))]);
        (node.clone(), Ok(empty_view(node.id, groups)))
    };
    RegionReport { nodes: nodes.iter().map(view).collect(), region: group.name.clone() }
}
