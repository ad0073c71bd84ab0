//! The cluster view, and the calls that form a cluster and change its members: what `ratequeue
//! cluster` is made of.

use axum::extract::State;
use axum::response::Response;
use ratequeue_api::Problem;
use ratequeue_api::cluster::{
    AdoptAnswer, AdoptRequest, ChangeAnswer, ChangeRequest, ClusterView, NodesView,
    TransferLeaderAnswer, TransferLeaderRequest,
};

use super::extract::Json;
use super::problem::Failure;
use super::response::json_response;
use crate::service::Service;

/// The cluster as the asked node sees it.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "watching",
    responses((status = 200, description = "Regions, nodes and groups", body = ClusterView))
)]
pub async fn look(State(service): State<Service>) -> Response {
    json_response(&service.cluster().await)
}

/// All nodes of the cluster, and what each says of itself.
#[utoipa::path(
    get, path = "/v1/cluster/nodes", tag = "watching",
    responses((status = 200, description = "Each as it has answered the asked node within 2 s", body = NodesView))
)]
pub async fn nodes(State(service): State<Service>) -> Response {
    json_response(&service.nodes().await)
}

/// Makes an empty node part of a cluster; says of which it is part, if it was part of one already.
/// Then it looks for the nodes in `reach`, and says which of them do not answer it.
#[utoipa::path(
    post, path = "/v1/cluster/adopt", tag = "cluster", request_body = AdoptRequest,
    responses(
        (status = 200, description = "The cluster it is part of now", body = AdoptAnswer),
        (status = 400, description = "Meant for another node", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn adopt(
    State(service): State<Service>,
    Json(body): Json<AdoptRequest>,
) -> Result<Response, Failure> {
    Ok(json_response(&service.adopt(body).await?))
}

/// Asks for a change of members, and how far it is: repeating it does nothing else. The leaders
/// carry it out by themselves. On the leader of the global group.
#[utoipa::path(
    post, path = "/v1/cluster/changes", tag = "cluster", request_body = ChangeRequest,
    responses(
        (status = 200, description = "How far it is", body = ChangeAnswer),
        (status = 400, description = "Refused; nothing was changed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "This node does not lead the global group", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(service): State<Service>,
    Json(body): Json<ChangeRequest>,
) -> Result<Response, Failure> {
    Ok(json_response(&service.change_members(body).await?))
}

/// Hands leadership over. On the leader.
#[utoipa::path(
    post, path = "/v1/cluster/transfer-leader", tag = "cluster", request_body = TransferLeaderRequest,
    responses((status = 200, description = "Who leads now", body = TransferLeaderAnswer),
              (status = 400, description = "Refused", body = Problem, content_type = "application/problem+json"))
)]
pub async fn transfer_leader(
    State(service): State<Service>,
    Json(body): Json<TransferLeaderRequest>,
) -> Result<Response, Failure> {
    let leader = service.transfer_leader(&body.group, body.to).await?;
    Ok(json_response(&TransferLeaderAnswer { group: body.group, leader }))
}
