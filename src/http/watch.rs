//! Watching: stats, health, metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::Problem;
use ratequeue_api::watch::{LimitStats, ResourceStats};

use super::answer;
use super::extract::Named;
use super::problem::Failure;
use super::route::{self, Whole};
use crate::node::Node;
use crate::node::counters::Sources;

/// How a resource stands, and what it did in the last 10 s.
#[utoipa::path(
    get, path = "/v1/resources/{name}/stats", tag = "watching",
    params(("name" = String, Path, description = "The resource")),
    responses(
        (status = 200, description = "As the asked node sees it", body = ResourceStats),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn stats(State(node): State<Arc<Node>>, Named(name): Named, call: Whole) -> Result<Response, Failure> {
    let (node, name) = (&node, &name);
    route::by_resource(node, name, &call, |group| async move {
        let usage = group.read(|state, now| state.usage(name, now));
        let usage = usage.ok_or_else(|| Failure::resource_not_found(name.as_str()))?;
        let recent = node.stats.recent(group.name(), name);
        let limits = usage.limits.iter().map(|limit| {
            let stats = LimitStats {
                quota: limit.quota,
                used: limit.used,
                remaining: limit.remaining,
                utilization: crate::node::counters::ratio(limit.used, limit.capacity),
            };
            (limit.name.to_string(), stats)
        });
        Ok(answer(&ResourceStats {
            queue_depth: usage.queue_depth,
            queue_load: usage.queue_load,
            oldest_wait_ms: usage.oldest_wait_ms,
            held: usage.held,
            limits: limits.collect(),
            throughput: recent.throughput,
            wait_ms: recent.wait_ms,
        }))
    })
    .await
}

/// Alive: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "watching", responses((status = 200, description = "Alive")))]
pub async fn healthz() -> &'static str {
    super::ALIVE
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
pub async fn readyz(State(node): State<Arc<Node>>) -> Result<&'static str, Failure> {
    if node.is_leaving() {
        return Err(Failure::shutting_down());
    }
    node.joined_member()?.region.linearize_anywhere().await?;
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
pub async fn metrics(State(node): State<Arc<Node>>) -> Result<Response, Failure> {
    let rendering = Arc::clone(&node);
    let text = node.scrapes.run(move || {
        let sources = rendering.member().map(|member| Sources {
            groups: member.groups(),
            regions: &member.regions,
            moved_aside: member.moved_aside,
        });
        rendering.stats.text(sources.as_ref())
    });
    let text = text.await?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"))];
    Ok((StatusCode::OK, kind, text).into_response())
}
