//! Resources: put, patch, get, list, delete.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::resource::{ResourcePatch, ResourceView};
use ratequeue_api::{List, Problem, Resource};
use ratequeue_limiter::{Condition, DeleteResource, PatchResource, PutResource, ResourceName};
use serde::Deserialize;

use super::convert;
use super::extract::{BufferedRequest, Precondition, QueryParams, RequestKey, ResourcePath};
use super::leases::{bad_cursor, page_cursor, page_items};
use super::problem::Failure;
use super::respond::respond;
use super::response::json_response;
use crate::service::{ResourcePage, ResourceQuery, Service};

fn show(view: &ratequeue_limiter::ResourceView, group: &str, status: StatusCode) -> Response {
    let mut response =
        (status, json_response(&convert::resource_view(view, group))).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.version)) {
        response.headers_mut().insert(header::ETAG, tag);
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
        (status = 422, description = "Invalid resource", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(service): State<Service>,
    ResourcePath(resource): ResourcePath,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let body: Resource = call.json()?;
    let spec = convert::resource_spec(&body).map_err(|failure| failure.about(resource.as_str()))?;
    let put = PutResource { request, resource, spec, condition };

    let answered = service.put(put, body.placement.as_deref(), &call.into_incoming()).await?;
    Ok(respond(answered, |put, group| {
        let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
        show(&put.resource, group, status)
    }))
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
        (status = 422, description = "The patch would make it invalid", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn patch(
    State(service): State<Service>,
    ResourcePath(resource): ResourcePath,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let body: ResourcePatch = call.json()?;
    let patch =
        convert::resource_patch(&body).map_err(|failure| failure.about(resource.as_str()))?;
    let patch = PatchResource { request, resource, patch, condition };

    let answered = service.patch(&patch, body.placement.as_deref(), &call.into_incoming()).await?;
    Ok(respond(answered, |view, group| show(&view, group, StatusCode::OK)))
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
pub async fn get(
    State(service): State<Service>,
    ResourcePath(name): ResourcePath,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let answered = service.get(&name, &call.into_incoming()).await?;
    Ok(respond(answered, |view, group| show(&view, group, StatusCode::OK)))
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
    State(service): State<Service>,
    QueryParams(params): QueryParams<ListParams>,
    _call: BufferedRequest,
) -> Result<Response, Failure> {
    let max = page_items(params.limit)?;
    let cursor = page_cursor(params.cursor.as_deref())?.map(ResourceName::new);
    let after = cursor.transpose().map_err(|_| bad_cursor())?;

    Ok(service.list_resources(ResourceQuery { after, max }, show_page).await?)
}

fn show_page(page: ResourcePage) -> Response {
    let ResourcePage { items, more, unreachable } = page;
    let next_cursor = items.last().filter(|_| more).map(|(view, _)| view.name.to_string());
    let items: Vec<ResourceView> =
        items.iter().map(|(view, placement)| convert::resource_view(view, placement)).collect();
    json_response(&List { items, next_cursor, unreachable })
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
    State(service): State<Service>,
    ResourcePath(resource): ResourcePath,
    RequestKey(request): RequestKey,
    Precondition(condition): Precondition,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let Nothing {} = call.json()?;
    if condition == Condition::Absent {
        return Err(Failure::bad_request("If-None-Match is not for this method: use If-Match."));
    }

    let delete = DeleteResource { request, resource, condition };
    let answered = service.delete(&delete, &call.into_incoming()).await?;
    Ok(respond(answered, |(), _| StatusCode::NO_CONTENT.into_response()))
}
