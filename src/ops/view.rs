//! The cluster as one node sees it: regions, nodes, groups, and what is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use ratequeue_api::cluster::{
    ChangeKind, ChangeView, ClusterView, DiskView, FollowerView, GroupReport, GroupView,
    NodeReport, NodeStanding, NodeView, NodesView, RegionView, Role, RoomView,
};
use ratequeue_limiter::LEVEL_MAX;
use ratequeue_raft::{Group, NodeId, NodeRole, Room};

use super::book::{AddressBook, Change};
use crate::node::Node;
use crate::node::peer_calls::{PeerAnswer, PeerCall, PeerError};

/// How long another node may take to say how it stands.
const REPORT_WITHIN: Duration = Duration::from_secs(2);

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

/// What this node says of itself.
pub async fn report(node: &Node, is_ready: bool) -> NodeReport {
    let mut groups = BTreeMap::new();
    let mut disk = None;
    if let Some(member) = node.member() {
        for group in member.groups() {
            let status = group.status();
            let report = GroupReport {
                view: group_view(group).await,
                leader_changes: node.stats.leader_changes(group.name()),
                log_bytes: status.log_bytes,
                checkpoint_bytes: group.read(|state, _| state.bytes()),
            };
            groups.insert(group.name().to_owned(), report);
        }
        disk = member.region.disk().map(|disk| DiskView {
            free_bytes: disk.free_bytes,
            reserve_bytes: disk.reserve_bytes,
            room: match disk.room {
                Room::Gone => RoomView::Gone,
                Room::Scarce => RoomView::Scarce,
                Room::Low => RoomView::Low,
                Room::Enough => RoomView::Enough,
            },
        });
    }

    NodeReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: millis(node.stats.uptime()),
        ready: is_ready,
        feature_level_max: LEVEL_MAX,
        disk,
        groups,
    }
}

/// All nodes of the cluster, each asked for what it says of itself. `own` is what this node says.
pub async fn nodes(node: &Node, own: NodeReport) -> NodesView {
    let nodes: Vec<NodeView> =
        regions(node).into_values().flat_map(|region| region.nodes).collect();
    let asking = nodes.into_iter().map(async |view| {
        let report =
            if view.id == node.options.id { Ok(own.clone()) } else { ask(node, &view).await };
        let NodeView { id, region, http, peer } = view;
        let (report, error) = match report {
            Ok(report) => (Some(report), None),
            Err(error) => (None, Some(error.to_string())),
        };
        NodeStanding { node: id, region, http, peer, reachable: report.is_some(), error, report }
    });
    let mut items = futures::future::join_all(asking).await;
    items.sort_by_key(|standing| standing.node);
    NodesView { items }
}

async fn ask(node: &Node, other: &NodeView) -> Result<NodeReport, PeerError> {
    let member = node.member().ok_or(PeerError::NotJoined)?;
    let asking = member.regions.call_node(other, &PeerCall::Report, REPORT_WITHIN);
    match tokio::time::timeout(REPORT_WITHIN, asking).await {
        Ok(Ok(PeerAnswer::Report(report))) => Ok(report),
        Ok(Ok(_)) => Err(PeerError::Failed),
        Ok(Err(error)) => Err(error),
        Err(_elapsed) => Err(PeerError::Refused("it does not answer".to_owned())),
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
