//! Acquire, and waiting for its turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::{AcquireRequest, Lease, Problem, header as names};
use ratequeue_limiter::{
    Acquire, Command, Keepalive, LeaseId, LeaseState, LeaseView, LimitUsage, Metadata, Phase, Priority, Refusal, Reply,
    TtlMs, WaitMs,
};
use ratequeue_raft::{Group, SubmitError, Woken};

use super::extract::{Named, RequestKey};
use super::problem::Failure;
use super::route::{self, Whole};
use super::unanswered::Unanswered;
use super::{answer, log_index, translate};
use crate::node::Node;

/// How long a granted call waits for this node to catch up with the leader, to tell what is left.
const CATCH_UP: Duration = Duration::from_millis(20);

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
    State(node): State<Arc<Node>>,
    Named(resource): Named,
    RequestKey(request): RequestKey,
    call: Whole,
) -> Result<Response, Failure> {
    let body: AcquireRequest = call.json()?;
    let hold = Duration::from_millis(body.hold_ms);
    let acquire = Acquire {
        request,
        resource: resource.clone(),
        load: translate::load(body.load)?,
        priority: Priority::new(body.priority)?,
        wait_ms: WaitMs::new(body.wait_ms)?,
        ttl_ms: body.ttl_ms.map(TtlMs::new).transpose()?,
        metadata: Metadata::new(body.metadata)?,
    };
    if node.is_stopping() {
        return Err(Failure::shutting_down());
    }
    let can_return = call.can_return();
    route::by_resource(&node, &resource, &call, |group| decide(&node, group, &acquire, can_return, hold)).await
}

async fn decide(
    node: &Node,
    group: Group,
    acquire: &Acquire,
    can_return: bool,
    hold: Duration,
) -> Result<Response, Failure> {
    let mut unanswered = Unanswered::new(&group, can_return);
    let answer = decide_unanswered(node, &group, acquire, &mut unanswered, hold).await;
    match &answer {
        Ok(_) => unanswered.answered(),
        Err(_) => unanswered.failed(),
    }
    answer
}

async fn decide_unanswered(
    node: &Node,
    group: &Group,
    acquire: &Acquire,
    unanswered: &mut Unanswered,
    hold: Duration,
) -> Result<Response, Failure> {
    let resource = &acquire.resource;
    let about = |error: SubmitError| Failure::from(error).about(resource.as_str());
    let applied = unanswered.acquire(acquire.clone()).await.map_err(about)?;
    let reply = applied.outcome.map_err(|refusal| Failure::refused(resource, refusal).at(applied.index))?;
    let Reply::Acquired(view) = reply else { return Err(super::unexpected()) };

    let view = match view.phase {
        Phase::Waiting(_) => wait(node, group, unanswered, view, applied.index, hold).await?,
        Phase::Held(_) | Phase::Ended(_) => view,
    };
    let told = Instant::now();
    // What is left of the limits is read here, where the grant of a leader elsewhere comes a moment later.
    let _ = tokio::time::timeout(CATCH_UP, group.wait_applied(applied.index)).await;
    acquired(group, &view, told, applied.index)
}

/// Waits at most `hold` for a lease to leave the queue; gives the lease as it is then. `waiting` is how it was at a log entry
/// of this index.
///
/// What this node has applied tells when the wait is over, and no more: that the lease is held is what the leader says.
///
/// # Errors
/// When the node stops, or the leader cannot be asked.
pub async fn wait(
    node: &Node,
    group: &Group,
    unanswered: &mut Unanswered,
    waiting: LeaseView,
    index: u64,
    hold: Duration,
) -> Result<LeaseView, Failure> {
    if !hold.is_zero() {
        let mut attachment = group.attach(waiting.id, index);
        tokio::select! {
            woken = attachment.ended_waiting() => match woken {
                Woken::NoLongerWaiting => {}
                Woken::ShuttingDown => return Err(Failure::shutting_down()),
            },
            () = tokio::time::sleep(hold) => {}
            () = node.stopping() => return Err(Failure::shutting_down()),
        }
    }
    if group.applied_index().is_none_or(|applied| applied < index) {
        return Ok(waiting);
    }
    match group.read(|state, now| state.lease(waiting.id, now)) {
        Some(view) if matches!(view.phase, Phase::Waiting(_)) => Ok(view),
        Some(_) | None => unanswered.confirm(waiting.id).await,
    }
}

/// Says through the log that somebody still asks for a waiting lease; gives the log index of that.
pub async fn keep_alive(group: &Group, id: LeaseId) -> Result<u64, Failure> {
    let keepalive = Command::Keepalive(Keepalive { leases: vec![id] });
    Ok(group.submit_anywhere(keepalive).await?.index)
}

/// `told`: when the view was true.
fn acquired(group: &Group, view: &LeaseView, told: Instant, index: u64) -> Result<Response, Failure> {
    let resource = view.resource.as_str();
    let (status, index) = match &view.phase {
        Phase::Held(grant) => (StatusCode::OK, grant.log_index),
        Phase::Waiting(_) => (StatusCode::ACCEPTED, index),
        Phase::Ended(end) => {
            let failure = match (end.state, &end.refusal) {
                (LeaseState::TimedOut | LeaseState::Rejected, Some(refusal)) => {
                    Failure::refused(&view.resource, refusal.clone())
                }
                (state, _) => Failure::from(Refusal::LeaseEnded(state)).about(resource),
            };
            return Err(failure.at(end.ended_index));
        }
    };
    let mut lease = translate::lease(view, group.name(), false);
    translate::take_off(&mut lease, told.elapsed());
    let location = format!("/v1/leases/{}", lease.id);
    let mut response = (status, answer(&lease)).into_response();
    let headers = response.headers_mut();
    log_index(headers, index);
    if status == StatusCode::ACCEPTED {
        headers.extend(HeaderValue::from_str(&location).ok().map(|value| (header::LOCATION, value)));
    } else if let Some(usage) = group.read(|state, now| state.usage(&view.resource, now)) {
        rate_limit_headers(headers, &usage.limits);
    }
    Ok(response)
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
