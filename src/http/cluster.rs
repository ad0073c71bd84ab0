//! The cluster view, and the calls that form a cluster and change its members: what `ratequeue cluster` is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ratequeue_api::Problem;
use ratequeue_api::cluster::{
    AddLearnerRequest, AdoptAnswer, AdoptRequest, ClusterView, FollowerView, FormRequest, GroupView, NodeView,
    RegionView, Role, SetVotersRequest, TransferLeaderAnswer, TransferLeaderRequest,
};
use ratequeue_raft::{Address, ChangeError, FormError, Group, NodeRole, SubmitError};

use super::answer;
use super::extract::Json;
use super::problem::Failure;
use crate::node::{FEATURE_LEVEL, Node};

/// The cluster as the asked node sees it.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "watching",
    responses((status = 200, description = "Regions, nodes and groups", body = ClusterView))
)]
pub async fn look(State(node): State<Arc<Node>>) -> Response {
    let cluster = &node.options.cluster;
    let mut regions = BTreeMap::new();
    for (name, config) in &cluster.regions {
        let nodes = config.nodes.iter().map(|config| config.view()).collect();
        regions.insert(name.clone(), RegionView { nodes });
    }
    let mut groups = BTreeMap::new();
    if let Ok(group) = node.group() {
        groups.insert(group.name().to_owned(), group_view(group).await);
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
        feature_level: FEATURE_LEVEL,
        digest: format!("{digest:016x}"),
    }
}

/// Makes an empty node part of a cluster; says of which it is part, if it was part of one already.
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
    match node.join(&body.cluster_id).await {
        Ok(cluster_id) => Ok(answer(&AdoptAnswer { cluster_id })),
        Err(error) => Err(Failure::bad_request(format!("This node cannot join: {error}."))),
    }
}

fn named<'a>(node: &'a Node, group: &str) -> Result<&'a Group, Failure> {
    let here = node.group()?;
    if here.name() == group {
        return Ok(here);
    }
    Err(Failure::bad_request(format!("This node is in the group {}, not in {group}.", here.name())))
}

/// How a node is reached, as the members of its group keep it: `PEER HTTP`.
fn address(node: &NodeView) -> Result<Address, Failure> {
    let plain = |text: &str| !text.is_empty() && text.len() <= 256 && text.bytes().all(|c| c.is_ascii_graphic());
    if plain(&node.peer) && plain(&node.http) {
        return Ok(Address(format!("{} {}", node.peer, node.http)));
    }
    Err(Failure::bad_request("peer must be like 127.0.0.1:7701, and http like http://127.0.0.1:7601."))
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
    let voters = body.voters.iter().map(|view| address(view).map(|address| (view.id, address)));
    match group.form(voters.collect::<Result<_, _>>()?).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(FormError::Stopped) => Err(Failure::shutting_down()),
        Err(error @ (FormError::AlreadyFormed { .. } | FormError::NotAVoter)) => {
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
        ChangeError::InProgress | ChangeError::Refused(_) => Failure::bad_request(format!("{error}.")),
    }
}

/// Adds a node that follows without a vote. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/learners", tag = "cluster", request_body = AddLearnerRequest,
    responses((status = 204, description = "It is a member; it catches up from now on"),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn add_learner(
    State(node): State<Arc<Node>>,
    Json(body): Json<AddLearnerRequest>,
) -> Result<StatusCode, Failure> {
    let group = named(&node, &body.group)?;
    group.add_learner(body.node.id, address(&body.node)?).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes these members the voters; voters that are left out are no members any more. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/voters", tag = "cluster", request_body = SetVotersRequest,
    responses((status = 204, description = "They vote"),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn set_voters(
    State(node): State<Arc<Node>>,
    Json(body): Json<SetVotersRequest>,
) -> Result<StatusCode, Failure> {
    let group = named(&node, &body.group)?;
    group.set_voters(body.voters.into_iter().collect()).await.map_err(refused)?;
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
