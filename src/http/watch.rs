//! Watching: stats, health, metrics.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::Problem;
use ratequeue_api::series::StatsSeries;
use ratequeue_api::watch::{LimitStats, QueueHead, ResourceStats};
use ratequeue_limiter as core;
use serde::Deserialize;

use super::ALIVE;
use super::convert;
use super::events::resource_names;
use super::extract::{BufferedRequest, QueryParams, ResourcePath};
use super::leases::page_items;
use super::problem::Failure;
use super::respond::respond;
use super::response::json_response;
use crate::node::counters::series::{COARSE_S, COARSE_STEP_S, FINE_S};
use crate::node::counters::{RangeQuery, SortBy, ratio};
use crate::service::{ResourceStanding, SeriesQuery, Service};

/// Buckets in one answer, over all resources: some MiB of JSON.
const BUCKETS_MAX: usize = 250_000;

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
    Ok(respond(answered, show))
}

fn show(standing: ResourceStanding, group: &str) -> Response {
    let ResourceStanding { usage, head, recent } = standing;
    let limits = usage.limits.iter().map(|limit| {
        let stats = LimitStats {
            quota: limit.quota,
            capacity: limit.capacity,
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
        head: head.map(|head| show_head(&head, group)),
        throughput: recent.throughput,
        wait_ms: recent.wait_ms,
    })
}

fn show_head(head: &core::QueueHead, group: &str) -> QueueHead {
    QueueHead {
        id: format!("{group}.{}", head.lease),
        load: convert::wire_load(&head.load),
        priority: head.priority,
        waited_ms: head.waited_ms,
        violated: head.violated.iter().map(ToString::to_string).collect(),
        needs: convert::amounts(&head.needs),
        fits_in_ms: head.fits_in_ms,
        fits_at_release: head.fits_in_ms.is_none(),
    }
}

/// The parameters of series.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesParams {
    /// How far back: `1m` to `6h`, or in seconds, `90s`. In buckets of 1 s up to `15m`, and of 10 s
    /// beyond. `15m` when absent.
    range: Option<String>,
    /// Of these resources, with commas between them, at most 100; of the first ones when absent.
    resource: Option<String>,
    /// Of this region, or `global`; of the groups that the asked node is in when absent.
    region: Option<String>,
    /// Resources at most, 1 to 1,000; 100 when absent.
    limit: Option<u64>,
    /// What comes first: `queue_depth` (when absent), `held`, `granted`, `rejected`, `utilization`
    /// or `name`.
    sort: Option<String>,
    /// Only buckets that end after this time, in milliseconds since 1970.
    after_ms: Option<u64>,
}

/// How resources stood and what they did, over time.
#[utoipa::path(
    get, path = "/v1/stats", tag = "watching", params(SeriesParams),
    responses(
        (status = 200, description = "As the asked node has seen them", body = StatsSeries),
        (status = 429, description = "Too many lists wait", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn series(
    State(service): State<Service>,
    QueryParams(params): QueryParams<SeriesParams>,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let range_s = range_s(params.range.as_deref().unwrap_or("15m"))?;
    let coarse = range_s > FINE_S;
    let step_s = if coarse { COARSE_STEP_S } else { 1 };
    let range = RangeQuery {
        names: resource_names(params.resource.as_deref())?,
        sort: sort_by(params.sort.as_deref().unwrap_or("queue_depth"))?,
        max: page_items(params.limit)?,
        coarse,
        buckets: usize::try_from(range_s.div_ceil(step_s)).unwrap_or(usize::MAX),
    };
    let resources = if range.names.is_empty() { range.max } else { range.names.len() };
    if resources.saturating_mul(range.buckets) > BUCKETS_MAX && params.after_ms.is_none() {
        let most = BUCKETS_MAX / range.buckets.max(1);
        return Err(Failure::bad_request(format!(
            "limit may be {most} for this range: ask for fewer resources, or for less time."
        )));
    }

    let query = SeriesQuery { range, region: params.region, after_ms: params.after_ms };
    let answered = service.series(query, &call.into_incoming()).await?;
    Ok(respond(answered, |series, _| json_response(&series)))
}

/// Seconds of a range.
fn range_s(text: &str) -> Result<u64, Failure> {
    let bad = || Failure::bad_request("range must be 1m to 6h, as 90s, 15m or 6h.");
    let (number, factor) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((number, "s")) => (number, 1),
        Some((number, "m")) => (number, 60),
        Some((number, "h")) => (number, 3_600),
        Some(_) | None => return Err(bad()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    seconds.filter(|seconds| (60..=COARSE_S).contains(seconds)).ok_or_else(bad)
}

fn sort_by(text: &str) -> Result<SortBy, Failure> {
    Ok(match text {
        "queue_depth" => SortBy::QueueDepth,
        "held" => SortBy::Held,
        "granted" => SortBy::Granted,
        "rejected" => SortBy::Rejected,
        "utilization" => SortBy::Utilization,
        "name" => SortBy::Name,
        _ => {
            let detail =
                "sort must be one of queue_depth, held, granted, rejected, utilization, name.";
            return Err(Failure::bad_request(detail));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_a_minute_to_six_hours() {
        let of = |text: &str| range_s(text).ok();
        assert_eq!([of("1m"), of("90s"), of("6h")], [Some(60), Some(90), Some(21_600)]);
        for bad in ["", "m", "59s", "7h", "1d", "-1m", "99999999999999999999h", "1é"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
