//! The cluster as one node sees it: regions, nodes, groups, and what is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use ratequeue_api::cluster::{
    ChangeKind, ChangeView, ClusterView, FollowerView, GroupView, NodeView, RegionView, Role,
};
use ratequeue_raft::{Group, NodeId, NodeRole};

use super::book::{AddressBook, Change};
use crate::node::Node;

/// The cluster as this node sees it.
pub async fn of(node: &Node) -> ClusterView {
    let cluster = &node.options.cluster;
    let mut groups = BTreeMap::new();
    if let Some(member) = node.member() {
        for group in member.groups() {
            groups.insert(group.name().to_owned(), group_view(group).await);
        }
    }

    ClusterView {
        name: cluster.name.clone(),
        cluster_id: node.member().map(|member| member.identity.cluster_id.clone()),
        node: node.options.id,
        regions: regions(node),
        groups,
        changes: under_way(node),
        founding: node.founds(),
        round_trip_ms: millis(cluster.round_trip()),
    }
}

fn regions(node: &Node) -> BTreeMap<String, RegionView> {
    let mut regions: BTreeMap<String, RegionView> = BTreeMap::new();
    let nodes: Vec<NodeView> = match node.member() {
        Some(member) => member.regions.nodes().into_values().collect(),
        None => {
            let own = &node.options.own;
            node.options
                .cluster
                .views()
                .map(|view| if view.id == own.id { own.clone() } else { view })
                .collect()
        }
    };
    for view in nodes {
        regions.entry(view.region.clone()).or_default().nodes.push(view);
    }

    let Some(member) = node.member() else { return regions };
    for (name, region) in &mut regions {
        if *name == node.options.region {
            region.reachable = member.region.leader().is_some();
        } else {
            let contact = member.regions.contact(name);
            region.reachable = contact.via.is_some();
            region.round_trip_ms = contact.round_trip.map(millis);
        }
    }
    regions
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn group_view(group: &Group) -> GroupView {
    let status = group.status();
    let (applied_index, digest) = group.digest().await;
    let followers = status.progress.iter().map(|(id, progress)| {
        (*id, FollowerView { matched_index: progress.matched, lag: progress.lag })
    });

    GroupView {
        role: match status.role {
            NodeRole::Leader => Role::Leader,
            NodeRole::Follower => Role::Follower,
            NodeRole::Candidate => Role::Candidate,
            NodeRole::Learner => Role::Learner,
            NodeRole::Stopped => Role::Stopped,
        },
        leader: group.leader(),
        term: status.term,
        settled: status.is_settled(),
        followers: followers.collect(),
        voters: status.voters.into_keys().collect(),
        learners: status.learners.into_keys().collect(),
        last_log_index: status.last_log_index.unwrap_or_default(),
        applied_index,
        lag: status.committed.unwrap_or_default().saturating_sub(applied_index),
        feature_level: group.level(),
        digest: format!("{digest:016x}"),
    }
}

/// The changes that are under way, as this node knows.
fn under_way(node: &Node) -> Vec<ChangeView> {
    let Some(member) = node.member() else { return Vec::new() };
    let book = AddressBook::of(&member.global.members_applied());
    let view = |(id, change): (NodeId, Change)| {
        let (kind, replaces) = match change {
            Change::Founding => (ChangeKind::Found, None),
            Change::Joining { replaces: None } => (ChangeKind::Add, None),
            Change::Joining { replaces } => (ChangeKind::Replace, replaces),
            Change::Leaving { .. } => (ChangeKind::Remove, None),
        };
        ChangeView { kind, node: id, replaces, progress: node.changes.progress() }
    };

    if book.is_empty() && node.founds().is_some() {
        vec![view((node.options.id, Change::Founding))]
    } else {
        book.changes().map(view).collect()
    }
}
