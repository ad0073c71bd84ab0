//! Resources: put, patch, get, list, delete.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use ratequeue_api::resource::{ResourcePatch, ResourceView};
use ratequeue_api::{ErrorCode, List, Problem, Resource};
use ratequeue_limiter::{
    Command, Condition, DeleteResource, PatchResource, Placement, PutResource, Refusal, Reply, ResourceName,
};
use ratequeue_raft::{Applied, Group, SubmitError};
use ratequeue_storage::caps::NODE_ANSWER_BYTES_MAX;
use serde::Deserialize;

use super::extract::{Named, Params, Precondition, RequestKey};
use super::leases::{bad_cursor, page_cursor, page_items};
use super::placing::{self, Placing};
use super::problem::Failure;
use super::route::{self, Placed, Whole};
use super::{answer, log_index, translate, unexpected};
use crate::config::GLOBAL;
use crate::node::aside::PIECE;
use crate::node::{Member, Node};

/// How long the answer to a delete waits for the name to be free again.
const GIVE_BACK_WAIT: Duration = Duration::from_secs(1);

/// Deletes a resource and gives its name back.
async fn delete_at(node: Arc<Node>, group: Group, delete: DeleteResource) -> Result<Applied, SubmitError> {
    let resource = delete.resource.clone();
    let applied = group.submit_anywhere(Command::DeleteResource(delete)).await?;
    if matches!(applied.outcome, Ok(Reply::Deleted) | Err(Refusal::ResourceNotFound)) {
        let giving_back = tokio::spawn(async move {
            if let Some(member) = node.member() {
                member.try_give_back(&resource).await;
            }
        });
        // The resource is gone in any case. The name follows, at once unless the global group cannot be asked.
        let _ = tokio::time::timeout(GIVE_BACK_WAIT, giving_back).await;
    }
    Ok(applied)
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
        (status = 200, description = "Replaced", body = ResourceView,
         headers(("etag" = String, description = "The version of the resource"))),
        (status = 201, description = "Created", body = ResourceView,
         headers(("etag" = String, description = "The version of the resource"))),
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
    call: Whole,
) -> Result<Response, Failure> {
    let body: Resource = call.json()?;
    let about = |failure: Failure| failure.about(resource.as_str());
    let spec = translate::resource_spec(&body).map_err(about)?;
    let member = node.joined_member()?;
    let wanted = body.placement.as_deref().map(|text| placement(member, text)).transpose().map_err(about)?;
    let put = PutResource { request, resource: resource.clone(), spec, condition };
    // It goes on to its end when the caller leaves.
    let placing = tokio::spawn(async move {
        let member = node.joined_member()?;
        Placing { member, call: &call, put, wanted }.run().await
    });
    let placed = placing.await.unwrap_or_else(|_| Err(SubmitError::UnknownOutcome.into()));
    match placed.map_err(about)? {
        placing::Answer::Elsewhere(response) => Ok(response),
        placing::Answer::Here { group, created, resource, index } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = show(&group, &resource, Some(index), status);
            response.extensions_mut().insert(Placed(group));
            Ok(response)
        }
    }
}

/// A placement that a resource can have; the error names all there are.
fn placement(member: &Member, text: &str) -> Result<Placement, Failure> {
    if text == GLOBAL || member.regions.has(text) {
        return Placement::new(text).map_err(|bad| Failure::bad_request(format!("{bad}.")));
    }
    let names: Vec<String> = member.regions.names().into_iter().chain([GLOBAL.to_owned()]).collect();
    let detail = format!("placement is {text:?}: must be one of {}.", names.join(", "));
    Err(Failure::new(ErrorCode::InvalidResource, detail))
}

/// Changes a resource, with the meaning of a JSON merge patch. The next decision follows it.
#[utoipa::path(
    patch, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters"),
           ("If-Match" = Option<String>, Header, description = "The ETag that is to be changed")),
    request_body = ResourcePatch,
    responses(
        (status = 200, description = "Changed, from `effective_index` on", body = ResourceView,
         headers(("etag" = String, description = "The version of the resource"))),
        (status = 400, description = "Malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It lives elsewhere", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Not in that version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The result makes no sense", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(node): State<Arc<Node>>,
    Named(resource): Named,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    call: Whole,
) -> Result<Response, Failure> {
    let body: ResourcePatch = call.json()?;
    let patch = translate::resource_patch(&body).map_err(|failure| failure.about(resource.as_str()))?;
    let patch = &PatchResource { request, resource: resource.clone(), patch, condition };
    let (resource, wanted) = (&resource, body.placement.as_deref());
    let change = |group: Group| async move {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != group.name()) {
            group.linearize_anywhere().await?;
            let is_here = group.read(|state, _| state.has_resource(resource));
            return Err(if is_here {
                Failure::lives_elsewhere(resource, group.name(), wanted)
            } else {
                Failure::resource_not_found(resource.as_str())
            });
        }
        let applied = group.submit_anywhere(Command::PatchResource(patch.clone())).await?;
        let reply = applied.outcome.map_err(|refusal| Failure::refused(resource, refusal).at(applied.index))?;
        let Reply::Patched(view) = reply else { return Err(unexpected()) };
        Ok(show(&group, &view, Some(applied.index), StatusCode::OK))
    };
    match route::recall(&node, resource, &call, &change).await? {
        Some(answer) => Ok(answer),
        None => route::by_resource(&node, resource, &call, change).await,
    }
}

/// A resource, read linearizably.
#[utoipa::path(
    get, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource")),
    responses(
        (status = 200, description = "The resource; its version is the ETag", body = ResourceView,
         headers(("etag" = String, description = "The version of the resource"))),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(State(node): State<Arc<Node>>, Named(name): Named, call: Whole) -> Result<Response, Failure> {
    let name = &name;
    route::by_resource(&node, name, &call, |group| async move {
        group.linearize_anywhere().await?;
        let view = group.read(|state, _| state.resource(name));
        let view = view.ok_or_else(|| Failure::resource_not_found(name.as_str()))?;
        Ok(show(&group, &view, None, StatusCode::OK))
    })
    .await
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

/// The resources of all regions, in name order.
#[utoipa::path(
    get, path = "/v1/resources", tag = "resources", params(ListParams),
    responses(
        (status = 200, description = "One page", body = List<ResourceView>),
        (status = 429, description = "Too many lists wait", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(node): State<Arc<Node>>,
    Params(params): Params<ListParams>,
    call: Whole,
) -> Result<Response, Failure> {
    let max = page_items(params.limit)?;
    let cursor = page_cursor(params.cursor.as_deref())?.map(ResourceName::new);
    let after = cursor.transpose().map_err(|_| bad_cursor())?;
    let member = node.joined_member()?;
    // A call that was passed on asks for what is decided here.
    let (groups, others) = if call.is_passed_on() {
        (vec![&member.region], BTreeSet::new())
    } else {
        (member.groups().to_vec(), member.regions.others())
    };
    let asked = others.into_iter().map(async |region| (list_at(member, &region, &call).await, region));
    let asked = futures::future::join_all(asked).await;

    let groups: Vec<Group> = groups.into_iter().cloned().collect();
    node.lists.run(move || page(&groups, asked, after, max)).await.map_err(Failure::from)
}

/// A page of what the groups of this node have and what the other regions have answered.
fn page(groups: &[Group], others: Vec<(Option<Bytes>, String)>, after: Option<ResourceName>, max: usize) -> Response {
    let mut items: Vec<ResourceView> = Vec::new();
    let (mut more, mut unreachable) = (false, Vec::new());
    for group in groups {
        items.extend(resources_of(group, after.clone(), max + 1));
    }
    for (body, region) in others {
        match body.and_then(|body| serde_json::from_slice::<List<ResourceView>>(&body).ok()) {
            Some(page) => {
                more |= page.next_cursor.is_some();
                items.extend(page.items);
            }
            None => unreachable.push(region),
        }
    }

    items.sort_by(|a, b| a.name.cmp(&b.name));
    more |= items.len() > max;
    items.truncate(max);
    let next_cursor = if more { items.last().map(|view| view.name.clone()) } else { None };
    answer(&List { items, next_cursor, unreachable })
}

/// Up to `max` resources of a group in name order, read in pieces: one that changes meanwhile is shown as it was when its
/// piece was read.
fn resources_of(group: &Group, mut after: Option<ResourceName>, max: usize) -> Vec<ResourceView> {
    let mut items = Vec::new();
    while items.len() < max {
        let piece = group.read(|state, _| state.resources(after.as_ref(), PIECE.min(max - items.len())));
        let Some(last) = piece.last() else { break };
        after = Some(last.name.clone());
        items.extend(piece.iter().map(|view| translate::resource_view(view, group.name())));
    }
    items
}

/// The same page of what another region has, as it answers it.
async fn list_at(member: &Member, region: &str, call: &Whole) -> Option<Bytes> {
    let response = call.pass_on(member, region).await.ok().filter(|response| response.status().is_success())?;
    let body = Limited::new(response.into_body(), NODE_ANSWER_BYTES_MAX).collect().await.ok()?;
    Some(body.to_bytes())
}

/// The body of a call that needs none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Deletes a resource: its waiting leases end, its held ones are forgotten.
#[utoipa::path(
    delete, path = "/v1/resources/{name}", tag = "resources",
    params(("name" = String, Path, description = "The resource"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters"),
           ("If-Match" = Option<String>, Header, description = "The ETag that is to be deleted")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Not in that version", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No quorum, or unknown outcome", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(node): State<Arc<Node>>,
    Named(resource): Named,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    call: Whole,
) -> Result<Response, Failure> {
    let Nothing {} = call.json()?;
    if condition == Condition::Absent {
        return Err(Failure::bad_request("If-None-Match makes no sense here: use If-Match."));
    }
    let delete = &DeleteResource { request, resource: resource.clone(), condition };
    let (node, resource) = (&node, &resource);
    route::by_resource(node, resource, &call, |group| async move {
        // It goes on to its end when the caller leaves.
        let deleting = tokio::spawn(delete_at(Arc::clone(node), group, delete.clone()));
        let applied = deleting.await.unwrap_or(Err(SubmitError::UnknownOutcome))?;
        let reply = applied.outcome.map_err(|refusal| Failure::refused(resource, refusal).at(applied.index))?;
        let Reply::Deleted = reply else { return Err(unexpected()) };
        let mut headers = HeaderMap::new();
        log_index(&mut headers, applied.index);
        Ok((StatusCode::NO_CONTENT, headers).into_response())
    })
    .await
}
