//! The cluster view, and the calls that form a cluster and change its members: what `ratequeue cluster` is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ratequeue_api::Problem;
use ratequeue_api::cluster::{
    AddLearnersRequest, AdoptAnswer, AdoptRequest, ChangeVotersRequest, ClusterView, FollowerView, FormRequest,
    GroupView, NodeView, RegionView, RemoveMemberRequest, Role, TransferLeaderAnswer, TransferLeaderRequest,
};
use ratequeue_raft::caps::MEMBERS_MAX;
use ratequeue_raft::{Address, ChangeError, FormError, Group, NodeId, NodeRole, SubmitError};

use super::answer;
use super::extract::{Json, Named};
use super::problem::Failure;
use crate::catalog::GLOBAL;
use crate::node::{Member, Node};
use crate::regions::address;

/// The cluster as the asked node sees it.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "watching",
    responses((status = 200, description = "Regions, nodes and groups", body = ClusterView))
)]
pub async fn look(State(node): State<Arc<Node>>) -> Response {
    let cluster = &node.options.cluster;
    let mut regions: BTreeMap<String, RegionView> = BTreeMap::new();
    let mut groups = BTreeMap::new();
    let nodes: Vec<NodeView> = match node.member() {
        Some(member) => member.regions.nodes().into_values().collect(),
        None => cluster.views().collect(),
    };
    for view in nodes {
        regions.entry(view.region.clone()).or_default().nodes.push(view);
    }
    if let Some(member) = node.member() {
        for group in member.groups() {
            groups.insert(group.name().to_owned(), group_view(group).await);
        }
        for (name, region) in &mut regions {
            if *name == node.options.region {
                region.reachable = member.region.leader().is_some();
            } else {
                let contact = member.regions.contact(name);
                region.reachable = contact.via.is_some();
                region.round_trip_ms =
                    contact.round_trip.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }
    let cluster_id = node.member().map(|member| member.identity.cluster_id.clone());
    answer(&ClusterView { name: cluster.name.clone(), cluster_id, node: node.options.id, regions, groups })
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
    body.reach.iter().try_for_each(|node| member(node).map(drop))?;

    let joined = node.join(&body.cluster_id).await;
    let cluster_id = joined.map_err(|error| Failure::bad_request(format!("This node cannot join: {error}.")))?;
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

/// A node and its address, as the members of a group keep it.
fn member(node: &NodeView) -> Result<(NodeId, Address), Failure> {
    let plain = |text: &str| !text.is_empty() && text.len() <= 80 && text.bytes().all(|c| c.is_ascii_graphic());
    if plain(&node.peer) && plain(&node.http) && plain(&node.region) {
        return Ok((node.id, address(node)));
    }
    let detail = "peer must be like 127.0.0.1:7701, http like http://127.0.0.1:7601, and region the name of one.";
    Err(Failure::bad_request(detail))
}

/// A region has one group for ever: a second one would grant everything once more. So none is formed where the region has
/// other nodes, which may be cut off, or names, whose leases and fencing tokens only the first one knew.
async fn refuse_second_group(
    member: &Member,
    group: &Group,
    voters: &BTreeMap<NodeId, Address>,
) -> Result<(), Failure> {
    let region = group.name();
    if region == GLOBAL || !group.members_applied().is_empty() {
        // A group that is formed is compared with these voters.
        return Ok(());
    }
    if !member.global.members_applied().is_empty() {
        member.global.linearize_anywhere().await?;
    }
    let nodes = member.regions.members_of(region);
    let others: Vec<NodeId> = nodes.into_iter().filter(|id| !voters.contains_key(id)).collect();
    if !others.is_empty() {
        let detail =
            format!("Region {region} has other nodes, {others:?}: bring them back, and add this one to its group.");
        return Err(Failure::bad_request(detail));
    }
    if member.has_names(region) {
        let detail =
            format!("There was a region {region}, and names are still claimed for it: give a new region a new name.");
        return Err(Failure::bad_request(detail));
    }
    Ok(())
}

/// Forms a group of its first voters, this node among them. Repeating it does nothing.
#[utoipa::path(
    post, path = "/v1/cluster/form", tag = "cluster", request_body = FormRequest,
    responses(
        (status = 204, description = "It is formed"),
        (status = 400, description = "Formed of others already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn form(State(node): State<Arc<Node>>, Json(body): Json<FormRequest>) -> Result<StatusCode, Failure> {
    let group = named(&node, &body.group)?;
    let voters = body.voters.iter().map(member).collect::<Result<BTreeMap<_, _>, _>>()?;
    refuse_second_group(node.joined_member()?, group, &voters).await?;
    match group.form(voters).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(FormError::Stopped) => Err(Failure::shutting_down()),
        Err(error @ (FormError::AlreadyFormed { .. } | FormError::NotAVoter | FormError::TooLarge(_))) => {
            Err(Failure::bad_request(format!("{error}.")))
        }
    }
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
        ChangeError::InProgress | ChangeError::Refused(_) => Failure::bad_request(format!("{error}.")),
    }
}

/// Adds nodes that follow without a vote. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/learners", tag = "cluster", request_body = AddLearnersRequest,
    responses((status = 204, description = "They are members; they catch up from now on"),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn add_learners(
    State(node): State<Arc<Node>>,
    Json(body): Json<AddLearnersRequest>,
) -> Result<StatusCode, Failure> {
    let group = named(&node, &body.group)?;
    let nodes = body.nodes.iter().map(member).collect::<Result<_, _>>()?;
    group.add_learners(nodes).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a node without a vote out of a group. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/remove-member", tag = "cluster", request_body = RemoveMemberRequest,
    responses((status = 204, description = "It is no member any more"),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn remove_member(
    State(node): State<Arc<Node>>,
    Json(body): Json<RemoveMemberRequest>,
) -> Result<StatusCode, Failure> {
    let group = named(&node, &body.group)?;
    group.remove_learner(body.node).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives members a vote, and takes it from others, in one step. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/voters", tag = "cluster", request_body = ChangeVotersRequest,
    responses((status = 204, description = "It is so"),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn change_voters(
    State(node): State<Arc<Node>>,
    Json(body): Json<ChangeVotersRequest>,
) -> Result<StatusCode, Failure> {
    let group = named(&node, &body.group)?;
    let (add, remove) = (body.add.into_iter().collect(), body.remove.into_iter().collect());
    group.change_voters(add, remove, body.keep).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
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
