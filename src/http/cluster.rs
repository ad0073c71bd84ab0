//! The cluster view, and the calls that form a cluster and change its members: what `ratequeue cluster` is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ratequeue_api::Problem;
use ratequeue_api::cluster::{
    AdoptAnswer, AdoptRequest, ChangeAnswer, ChangeRequest, ClusterView, FollowerView, GroupView, NodeView, RegionView,
    Role, TransferLeaderAnswer, TransferLeaderRequest,
};
use ratequeue_raft::caps::MEMBERS_MAX;
use ratequeue_raft::{ChangeError, Group, NodeRole, SubmitError};

use super::answer;
use super::extract::{Json, Named};
use super::problem::Failure;
use crate::config::check_view;
use crate::node::{Node, NotJoined};
use crate::ops::{self, Refused};

/// The cluster as the asked node sees it.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "watching",
    responses((status = 200, description = "Regions, nodes and groups", body = ClusterView))
)]
pub async fn look(State(node): State<Arc<Node>>) -> Response {
    answer(&view(&node).await)
}

/// The cluster as this node sees it.
pub async fn view(node: &Node) -> ClusterView {
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
        changes: ops::under_way(node),
        founding: ops::founding::of_node(node),
        round_trip_ms: millis(cluster.round_trip()),
    }
}

fn regions(node: &Node) -> BTreeMap<String, RegionView> {
    let mut regions: BTreeMap<String, RegionView> = BTreeMap::new();
    let nodes: Vec<NodeView> = match node.member() {
        Some(member) => member.regions.nodes().into_values().collect(),
        None => {
            let own = &node.options.own;
            node.options.cluster.views().map(|view| if view.id == own.id { own.clone() } else { view }).collect()
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
    let followers = status
        .progress
        .iter()
        .map(|(id, progress)| (*id, FollowerView { matched_index: progress.matched, lag: progress.lag }));
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

/// Makes an empty node part of a cluster; says of which it is part, if it was part of one already. Then it looks for the nodes in
/// `reach`, and says which of them do not answer it.
#[utoipa::path(
    post, path = "/v1/cluster/adopt", tag = "cluster", request_body = AdoptRequest,
    responses(
        (status = 200, description = "The cluster it is part of now", body = AdoptAnswer),
        (status = 400, description = "Meant for another node", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn adopt(State(node): State<Arc<Node>>, Json(body): Json<AdoptRequest>) -> Result<Response, Failure> {
    let options = &node.options;
    if body.name != options.cluster.name || body.node != options.id {
        let (name, id) = (&options.cluster.name, options.id);
        let detail = format!("This is node {id} of cluster {name}, not node {} of {}.", body.node, body.name);
        return Err(Failure::bad_request(detail));
    }
    if body.cluster_id.len() != 32 || !body.cluster_id.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(Failure::bad_request("cluster_id must be 32 hexadecimal digits."));
    }
    if body.reach.len() > MEMBERS_MAX {
        return Err(Failure::bad_request(format!("reach: a cluster has at most {MEMBERS_MAX} nodes.")));
    }
    body.reach.iter().chain(body.founding.iter().flat_map(|founding| &founding.nodes)).try_for_each(check_node)?;
    if body.region != options.region {
        let (own, id) = (&options.region, options.id);
        let detail = format!(
            "Node {id} was started with a file in which it is in region {own}, not {}: give all nodes the same file.",
            body.region
        );
        return Err(Failure::bad_request(detail));
    }

    // On its own, so that it is not left half done when the caller hangs up.
    let (adopted, cluster_id) = (Arc::clone(&node), body.cluster_id.clone());
    let founding = body.founding.clone();
    let adopting = tokio::spawn(async move { ops::founding::adopt(&adopted, &cluster_id, founding.as_ref()).await });
    let cluster_id = adopting.await.map_err(|_ended| Failure::shutting_down())?.map_err(refused_change)?;
    let unreached = node.joined_member()?.regions.unreached(options.id, &body.reach).await;
    Ok(answer(&AdoptAnswer { cluster_id, unreached }))
}

fn named<'a>(node: &'a Node, group: &str) -> Result<&'a Group, Failure> {
    let member = node.joined_member()?;
    member.group_of(group).ok_or_else(|| {
        let here = member.groups().map(Group::name).join(" and ");
        Failure::bad_request(format!("This node is in the groups {here}, not in {group}."))
    })
}

/// Refuses a node that nobody could reach at its addresses.
fn check_node(node: &NodeView) -> Result<(), Failure> {
    check_view(node).map_err(|error| Failure::bad_request(format!("Node {}: {error}.", node.id)))
}

/// Asks for a change of members, and how far it is: repeating it does nothing else. The leaders carry it out by themselves. On the
/// leader of the global group.
#[utoipa::path(
    post, path = "/v1/cluster/changes", tag = "cluster", request_body = ChangeRequest,
    responses(
        (status = 200, description = "How far it is", body = ChangeAnswer),
        (status = 400, description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "This node does not lead the global group", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(State(node): State<Arc<Node>>, Json(body): Json<ChangeRequest>) -> Result<Response, Failure> {
    match &body {
        ChangeRequest::Add { node } | ChangeRequest::Replace { with: node, .. } | ChangeRequest::Move { node } => {
            check_node(node)?;
        }
        ChangeRequest::Remove { .. } | ChangeRequest::Rebalance {} => {}
    }
    // On its own, so that what was checked is recorded also when the caller hangs up.
    let admitting = tokio::spawn(async move { Ok(ops::admit(&node, node.joined_member()?, &body).await) });
    let admitted: Result<_, NotJoined> = admitting.await.map_err(|_ended| Failure::shutting_down())?;
    Ok(answer(&admitted?.map_err(refused_change)?))
}

fn refused_change(error: Refused) -> Failure {
    if let Refused::Change(error) = error {
        return refused(error);
    }
    if let Refused::Submit(error) = error {
        return refused(ChangeError::Submit(error));
    }
    Failure::bad_request(format!("{error}."))
}

fn refused(error: ChangeError) -> Failure {
    match error {
        ChangeError::Submit(SubmitError::NotLeader { leader }) => {
            let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| format!("node {leader}"));
            Failure::from(SubmitError::NoQuorum)
                .with_detail(format!("Only the leader does this, which is {leader} now."))
        }
        ChangeError::Submit(error) => error.into(),
        ChangeError::NotTaken { .. } => Failure::from(SubmitError::UnknownOutcome)
            .with_detail(format!("{error}: look who leads now, and try again.")),
        ChangeError::InProgress
        | ChangeError::Refused(_)
        | ChangeError::FewerLosses { .. }
        | ChangeError::NoMajority { .. } => Failure::bad_request(format!("{error}.")),
    }
}

/// Hands leadership over. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/transfer-leader", tag = "cluster", request_body = TransferLeaderRequest,
    responses((status = 200, description = "Who leads now", body = TransferLeaderAnswer),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn transfer_leader(
    State(node): State<Arc<Node>>,
    Json(body): Json<TransferLeaderRequest>,
) -> Result<Response, Failure> {
    let leader = named(&node, &body.group)?.hand_over(body.to).await.map_err(refused)?;
    Ok(answer(&TransferLeaderAnswer { group: body.group, leader }))
}

/// Gives the name of a resource back that was claimed for a group of this node, unless the resource exists there. Nodes ask
/// this of each other, before they create it elsewhere.
#[utoipa::path(
    post, path = "/v1/cluster/give-back/{name}", tag = "cluster",
    params(("name" = String, Path, description = "The resource")),
    responses((status = 204, description = "It is free, or it exists"))
)]
pub async fn give_back(State(node): State<Arc<Node>>, Named(name): Named) -> Result<StatusCode, Failure> {
    node.joined_member()?.give_back(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
