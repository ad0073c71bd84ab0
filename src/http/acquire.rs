//! Acquire, and waiting for its turn.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::{AcquireRequest, Lease, Problem, header as names};
use ratequeue_limiter::{Acquire, LimitUsage, Metadata, Phase, Priority, TtlMs, WaitMs};

use super::convert;
use super::extract::{BufferedRequest, RequestKey, ResourcePath};
use super::problem::Failure;
use super::respond::respond;
use super::response::json_response;
use crate::service::{Acquired, Service};

/// Acquire: granted at once, after a wait in the queue, or not.
#[utoipa::path(
    post, path = "/v1/resources/{name}/acquire", tag = "leases",
    params(("name" = String, Path, description = "The resource"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters")),
    request_body = AcquireRequest,
    responses(
        (status = 200, description = "Granted: it is held now", body = Lease,
         headers(("ratelimit-policy" = String, description = "The limits of the resource"),
                 ("ratelimit" = String, description = "What is left of them"))),
        (status = 202, description = "Still in the queue when hold_ms was over; ask again with the same key", body = Lease,
         headers(("location" = String, description = "Where to look at the lease"))),
        (status = 400, description = "Malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The lease of this key has ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The load can never fit, or the key was used before", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Not now", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No quorum, unknown outcome, or the node is stopping", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is nearly full", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn acquire(
    State(service): State<Service>,
    ResourcePath(resource): ResourcePath,
    RequestKey(request): RequestKey,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let body: AcquireRequest = call.json()?;
    let hold = Duration::from_millis(body.hold_ms);
    let acquire = Acquire {
        request,
        resource,
        load: convert::load(body.load)?,
        priority: Priority::new(body.priority)?,
        wait_ms: WaitMs::new(body.wait_ms)?,
        ttl_ms: body.ttl_ms.map(TtlMs::new).transpose()?,
        metadata: Metadata::new(body.metadata)?,
    };

    let answered = service.acquire(&acquire, hold, &call.into_incoming()).await?;
    Ok(respond(answered, acquired))
}

/// 200 with what is left of the limits, or 202 with where to look.
fn acquired(acquired: Acquired, group: &str) -> Response {
    let Acquired { lease: view, at, limits } = acquired;
    let is_waiting = matches!(view.phase, Phase::Waiting(_));
    let status = if is_waiting { StatusCode::ACCEPTED } else { StatusCode::OK };

    let mut lease = convert::lease(&view, group, false);
    convert::take_off(&mut lease, at.elapsed());
    let location = format!("/v1/leases/{}", lease.id);
    let mut response = (status, json_response(&lease)).into_response();

    let headers = response.headers_mut();
    if is_waiting {
        headers
            .extend(HeaderValue::from_str(&location).ok().map(|value| (header::LOCATION, value)));
    } else if let Some(limits) = limits {
        rate_limit_headers(headers, &limits);
    }
    response
}

/// The IETF's RateLimit header fields: each limit's policy, and what is left of it.
fn rate_limit_headers(headers: &mut HeaderMap, limits: &[LimitUsage]) {
    let policy = limits.iter().map(|limit| match limit.window_ms {
        Some(ms) => format!("\"{}\";q={};w={}", limit.name, limit.quota, ms.div_ceil(1000)),
        None => format!("\"{}\";q={};qu=\"concurrent-requests\"", limit.name, limit.quota),
    });

    let left = limits.iter().map(|limit| match limit.next_in_ms {
        Some(ms) => format!("\"{}\";r={};t={}", limit.name, limit.remaining, ms.div_ceil(1000)),
        None => format!("\"{}\";r={}", limit.name, limit.remaining),
    });

    let fields = [
        (names::RATE_LIMIT_POLICY, policy.collect::<Vec<_>>().join(", ")),
        (names::RATE_LIMIT, left.collect::<Vec<_>>().join(", ")),
    ];

    for (name, text) in fields {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
