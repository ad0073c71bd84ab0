//! HTTP: handlers that translate. They take a call apart, hand a command to the group, and put the answer together; they
//! decide nothing.

mod acquire;
mod cluster;
mod explain;
mod extract;
mod idle;
mod leases;
mod linger;
mod openapi;
mod placing;
mod problem;
mod resources;
mod route;
pub mod server;
mod shared;
mod stall;
mod translate;
mod unanswered;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use ratequeue_api::{ErrorCode, header as names};
use serde::Serialize;

pub use cluster::view as cluster_view;
pub use openapi::document;
pub use translate::take_off;

use crate::node::Node;
use extract::RequestKey;
use problem::Failure;
use ratequeue_raft::NodeId;
use route::Placed;

/// The body of a healthy node.
const ALIVE: &str = "alive\n";

/// All paths of a node.
pub fn router(node: Arc<Node>) -> Router {
    let (router, _) = openapi::routes().split_for_parts();
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&node), frame))
        .with_state(node)
}

/// What frames every call: its key, and on every answer who served it and who leads; failures become problems.
async fn frame(State(node): State<Arc<Node>>, mut request: Request, next: Next) -> Response {
    let (request_id, mut response) = match RequestKey::of(request.headers()) {
        Ok(key) => {
            let request_id = key.0.as_str().to_owned();
            request.extensions_mut().insert(key);
            (request_id, next.run(request).await)
        }
        // A key that is refused names no request: the problem is found by a name of its own.
        Err(failure) => (RequestKey::random_text(), failure.into_response()),
    };
    problem::render(&mut response, request_id);

    if response.headers().contains_key(names::SERVED_BY) {
        // Another node has answered, and has said so.
        return response;
    }

    let placed = response.extensions().get::<Placed>().map(|placed| &placed.0);
    // What no group of this node has decided, or lives elsewhere, has nothing to do with the leader of this region.
    let elsewhere = matches!(response.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT);
    let undecided = placed.is_none() && elsewhere;
    let leader = node.member().filter(|_| !undecided);
    let leader = leader.and_then(|member| member.leader_url(placed.unwrap_or(&member.region)));

    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(names::SERVED_BY), HeaderValue::from(node.options.id));
    if let Some(leader) = leader.and_then(|url| HeaderValue::from_str(&url).ok()) {
        headers.insert(HeaderName::from_static(names::LEADER), leader);
    }
    response
}

/// A problem of a call that no handler of a node is asked about.
fn refusal(node: NodeId, headers: &HeaderMap, failure: Failure) -> Response {
    let (request_id, failure) = match RequestKey::of(headers) {
        Ok(key) => (key.0.as_str().to_owned(), failure),
        Err(bad) => (RequestKey::random_text(), bad),
    };
    let mut response = failure.into_response();
    problem::render(&mut response, request_id);
    response.headers_mut().insert(HeaderName::from_static(names::SERVED_BY), HeaderValue::from(node));
    response
}

async fn not_found(request: Request) -> Failure {
    let path = request.uri().path();
    let slash = if path.starts_with("/v1/resources/") { " In the name of a resource, / is written %2F." } else { "" };
    let detail = format!("There is no {path}.{slash} The API is described at /openapi.json.");
    Failure::new(ErrorCode::NotFound, detail)
}

async fn method_not_allowed(request: Request) -> Failure {
    let detail = format!("{} has no {}.", request.uri().path(), request.method());
    Failure::new(ErrorCode::MethodNotAllowed, detail)
}

/// A JSON answer.
fn answer(body: &impl Serialize) -> Response {
    // Wire types are made of strings and numbers, which always have a JSON form.
    let text = serde_json::to_vec(body).unwrap_or_default();
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

fn log_index(headers: &mut HeaderMap, index: u64) {
    headers.insert(HeaderName::from_static(names::LOG_INDEX), HeaderValue::from(index));
}

/// The core answered a command with what belongs to another. It cannot, and if it did, the caller may not rely on it.
fn unexpected() -> Failure {
    tracing::error!("an answer that does not belong to its command");
    Failure::new(ErrorCode::UnknownOutcome, "The server contradicted itself. Please report this.")
}
