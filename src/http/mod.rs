//! HTTP: handlers that translate. They take a call apart, call the service, and put the answer
//! together; they decide nothing.
//!
//! ```text
//!   openapi.rs   the routes                 extract.rs   what is taken from a request
//!   acquire.rs leases.rs resources.rs watch.rs events.rs cluster.rs   the handlers
//!   dashboard.rs   the files of the dashboard
//!   convert.rs   between wire and core      respond.rs problem.rs   answers and errors of the service
//!   relayed.rs   calls and replies that cross to another region
//!   server.rs    connections: explain.rs idle.rs linger.rs stall.rs
//! ```

mod acquire;
mod cluster;
mod convert;
mod dashboard;
mod events;
mod explain;
mod extract;
mod idle;
mod leases;
mod linger;
mod openapi;
mod problem;
mod relayed;
mod resources;
mod respond;
mod response;
pub mod server;
mod shared;
mod stall;
mod watch;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use ratequeue_api::{ErrorCode, header as names};
use ratequeue_raft::NodeId;

pub use openapi::document;
pub use relayed::Routes;

use crate::service::Service;
use extract::RequestKey;
use problem::Failure;
use response::DecidedBy;

/// The body of a healthy node.
const ALIVE: &str = "alive\n";

/// All paths of a node.
pub fn router(service: Service) -> Router {
    let (router, _) = openapi::routes().split_for_parts();
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(service.clone(), annotate))
        .with_state(service)
}

/// Annotates every call with its key, and every answer with who served it and who leads; renders
/// failures as problems.
async fn annotate(State(service): State<Service>, mut request: Request, next: Next) -> Response {
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

    let decided_by = response.extensions().get::<DecidedBy>().map(|decided| &decided.0);
    // What no group of this node has decided, or lives elsewhere, has nothing to do with the leader
    // of this region.
    let elsewhere =
        matches!(response.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT);
    let is_undecided = decided_by.is_none() && elsewhere;
    let leader = if is_undecided { None } else { service.leader_url(decided_by) };

    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(names::SERVED_BY), HeaderValue::from(service.node_id()));
    if let Some(leader) = leader.and_then(|url| HeaderValue::from_str(&url).ok()) {
        headers.insert(HeaderName::from_static(names::LEADER), leader);
    }
    response
}

/// Builds the error response for a request that is refused before routing.
fn refusal(node: NodeId, headers: &HeaderMap, failure: Failure) -> Response {
    let (request_id, failure) = match RequestKey::of(headers) {
        Ok(key) => (key.0.as_str().to_owned(), failure),
        Err(bad) => (RequestKey::random_text(), bad),
    };
    let mut response = failure.into_response();
    problem::render(&mut response, request_id);
    response
        .headers_mut()
        .insert(HeaderName::from_static(names::SERVED_BY), HeaderValue::from(node));
    response
}

async fn not_found(request: Request) -> Failure {
    let path = request.uri().path();
    let slash = if path.starts_with("/v1/resources/") {
        " In the name of a resource, / is written %2F."
    } else {
        ""
    };
    let detail = format!("There is no {path}.{slash} The API is described at /openapi.json.");
    Failure::new(ErrorCode::NotFound, detail)
}

async fn method_not_allowed(request: Request) -> Failure {
    let detail = format!("{} has no {}.", request.uri().path(), request.method());
    Failure::new(ErrorCode::MethodNotAllowed, detail)
}
