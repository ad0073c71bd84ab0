//! Resources: put, patch, get, list, delete.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::resource::{ResourcePatch, ResourceView};
use ratequeue_api::{ErrorCode, List, Problem, Resource};
use ratequeue_limiter::{Command, Condition, DeleteResource, PatchResource, PutResource, Reply, ResourceName};
use ratequeue_raft::Group;
use serde::Deserialize;

use super::extract::{Json, Named, Params, Precondition, RequestKey};
use super::leases::{bad_cursor, page_cursor, page_items};
use super::problem::Failure;
use super::{answer, log_index, translate, unexpected};
use crate::node::Node;

/// The placement of every resource of this node's group.
fn check_placement(node: &Node, name: &ResourceName, wanted: Option<&str>) -> Result<(), Failure> {
    let here = node.group()?.name();
    match wanted {
        None => Ok(()),
        Some(wanted) if wanted == here => Ok(()),
        Some(wanted) => {
            let exists = node.group()?.read(|state, _| state.resource(name)).is_some();
            if exists {
                let detail = format!(
                    "{name} lives in {here}, and a placement cannot be changed. Delete it and create it in {wanted}."
                );
                Err(Failure::new(ErrorCode::PlacementConflict, detail).about(name.as_str()))
            } else {
                let detail = format!("placement is {wanted:?}: must be one of {here}.");
                Err(Failure::new(ErrorCode::InvalidResource, detail).about(name.as_str()))
            }
        }
    }
}

fn show(group: &Group, view: &ratequeue_limiter::ResourceView, index: Option<u64>, status: StatusCode) -> Response {
    let mut response = (status, answer(&translate::resource_view(view, group.name()))).into_response();
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.version)) {
        headers.insert(header::ETAG, tag);
    }
    if let Some(index) = index {
        log_index(headers, index);
    }
    response
}

/// Creates or replaces a resource. What is in use carries over to the limits that keep their names.
#[utoipa::path(
    put, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters"),
           ("If-None-Match" = Option<String>, Header, description = "`*` creates only"),
           ("If-Match" = Option<String>, Header, description = "The ETag that is to be replaced")),
    request_body = Resource,
    responses(
        (status = 200, description = "Replaced", body = ResourceView),
        (status = 201, description = "Created", body = ResourceView),
        (status = 400, description = "Malformed", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It lives elsewhere", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Not in that version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It makes no sense", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(node): State<Arc<Node>>,
    Named(resource): Named,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    Json(body): Json<Resource>,
) -> Result<Response, Failure> {
    check_placement(&node, &resource, body.placement.as_deref())?;
    let spec = translate::resource_spec(&body).map_err(|failure| failure.about(resource.as_str()))?;
    let put = PutResource { request, resource: resource.clone(), spec, condition };
    let applied = node.group()?.submit_anywhere(Command::PutResource(put)).await?;
    let reply = applied.outcome.map_err(|refusal| Failure::refused(&resource, refusal).at(applied.index))?;
    let Reply::Put { created, resource } = reply else { return Err(unexpected()) };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(show(node.group()?, &resource, Some(applied.index), status))
}

/// Changes a resource, with the meaning of a JSON merge patch. The next decision follows it.
#[utoipa::path(
    patch, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters"),
           ("If-Match" = Option<String>, Header, description = "The ETag that is to be changed")),
    request_body = ResourcePatch,
    responses(
        (status = 200, description = "Changed, from `effective_index` on", body = ResourceView),
        (status = 400, description = "Malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Not in that version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The result makes no sense", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(node): State<Arc<Node>>,
    Named(resource): Named,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    Json(body): Json<ResourcePatch>,
) -> Result<Response, Failure> {
    check_placement(&node, &resource, body.placement.as_deref())?;
    let patch = translate::resource_patch(&body).map_err(|failure| failure.about(resource.as_str()))?;
    let patch = PatchResource { request, resource: resource.clone(), patch, condition };
    let applied = node.group()?.submit_anywhere(Command::PatchResource(patch)).await?;
    let reply = applied.outcome.map_err(|refusal| Failure::refused(&resource, refusal).at(applied.index))?;
    let Reply::Patched(resource) = reply else { return Err(unexpected()) };
    Ok(show(node.group()?, &resource, Some(applied.index), StatusCode::OK))
}

/// A resource, read linearizably.
#[utoipa::path(
    get, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource")),
    responses(
        (status = 200, description = "The resource; its version is the ETag", body = ResourceView),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(State(node): State<Arc<Node>>, Named(name): Named) -> Result<Response, Failure> {
    node.group()?.linearize_anywhere().await?;
    let view = node.group()?.read(|state, _| state.resource(&name));
    let view = view.ok_or_else(|| Failure::resource_not_found(name.as_str()))?;
    Ok(show(node.group()?, &view, None, StatusCode::OK))
}

/// The parameters of a list of resources.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Items on the page, 1 to 1,000; 100 when absent.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The resources, in name order.
#[utoipa::path(
    get, path = "/v1/resources", tag = "resources", params(ListParams),
    responses((status = 200, description = "One page", body = List<ResourceView>))
)]
pub async fn list(State(node): State<Arc<Node>>, Params(params): Params<ListParams>) -> Result<Response, Failure> {
    let max = page_items(params.limit)?;
    let cursor = page_cursor(params.cursor.as_deref())?.map(ResourceName::new);
    let after = cursor.transpose().map_err(|_| bad_cursor())?;
    let group = node.group()?;
    let mut views = group.read(|state, _| state.resources(after.as_ref(), max + 1));
    let more = views.len() > max;
    views.truncate(max);
    let next_cursor = if more { views.last().map(|view| view.name.to_string()) } else { None };
    let items = views.iter().map(|view| translate::resource_view(view, group.name())).collect();
    Ok(answer(&List { items, next_cursor }))
}

/// Deletes a resource: its waiting leases end, its held ones are forgotten.
#[utoipa::path(
    delete, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters"),
           ("If-Match" = Option<String>, Header, description = "The ETag that is to be deleted")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(node): State<Arc<Node>>,
    Named(resource): Named,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
) -> Result<Response, Failure> {
    if condition == Condition::Absent {
        return Err(Failure::bad_request("If-None-Match makes no sense here: use If-Match."));
    }
    let delete = DeleteResource { request, resource: resource.clone(), condition };
    let applied = node.group()?.submit_anywhere(Command::DeleteResource(delete)).await?;
    let reply = applied.outcome.map_err(|refusal| Failure::refused(&resource, refusal).at(applied.index))?;
    let Reply::Deleted = reply else { return Err(unexpected()) };
    let mut headers = HeaderMap::new();
    log_index(&mut headers, applied.index);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}
