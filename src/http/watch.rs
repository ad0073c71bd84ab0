//! Watching: stats, health, metrics.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::Problem;
use ratequeue_api::watch::{LimitStats, ResourceStats};

use super::ALIVE;
use super::extract::{BufferedRequest, ResourcePath};
use super::problem::Failure;
use super::respond::respond;
use super::response::json_response;
use crate::node::counters::ratio;
use crate::service::{ResourceStanding, Service};

/// How a resource stands, and what it did in the last 10 s.
#[utoipa::path(
    get, path = "/v1/resources/{name}/stats", tag = "watching",
    params(("name" = String, Path, description = "The resource")),
    responses(
        (status = 200, description = "As the asked node sees it", body = ResourceStats),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn stats(
    State(service): State<Service>,
    ResourcePath(name): ResourcePath,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let answered = service.standing(&name, &call.into_incoming()).await?;
    Ok(respond(answered, |standing, _| show(standing)))
}

fn show(standing: ResourceStanding) -> Response {
    let ResourceStanding { usage, recent } = standing;
    let limits = usage.limits.iter().map(|limit| {
        let stats = LimitStats {
            quota: limit.quota,
            used: limit.used,
            remaining: limit.remaining,
            utilization: ratio(limit.used, limit.capacity),
        };
        (limit.name.to_string(), stats)
    });

    json_response(&ResourceStats {
        queue_depth: usage.queue_depth,
        queue_load: usage.queue_load,
        oldest_wait_ms: usage.oldest_wait_ms,
        held: usage.held,
        limits: limits.collect(),
        throughput: recent.throughput,
        wait_ms: recent.wait_ms,
    })
}

/// Alive: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "watching", responses((status = 200, description = "Alive")))]
pub async fn healthz() -> &'static str {
    ALIVE
}

/// Started: it listens and has opened its data folder.
#[utoipa::path(
    get, path = "/startupz", tag = "watching",
    responses(
        (status = 200, description = "Started"),
        (status = 503, description = "It is opening its data folder", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn startupz() -> &'static str {
    "started\n"
}

/// Ready: in touch with a quorum of its group, and caught up.
#[utoipa::path(
    get, path = "/readyz", tag = "watching",
    responses(
        (status = 200, description = "Ready"),
        (status = 503, description = "Not ready, and why", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(service): State<Service>) -> Result<&'static str, Failure> {
    service.ready().await?;
    Ok("ready\n")
}

/// Metrics in Prometheus' text format, at most a second old.
#[utoipa::path(
    get, path = "/metrics", tag = "watching",
    responses(
        (status = 200, description = "Prometheus text"),
        (status = 429, description = "Too many wait for it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn metrics(State(service): State<Service>) -> Result<Response, Failure> {
    let text = service.metrics().await?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"))];
    Ok((StatusCode::OK, kind, text).into_response())
}
