//! A lease after its acquire: look, release, extend; and the lists of who waits and who holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ratequeue_api::caps::{CURSOR_LEN_MAX, HOLD_MS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use ratequeue_api::{ErrorCode, ExtendRequest, Lease, List, Problem, ReleaseRequest, Released};
use ratequeue_limiter::{Command, Extend, LeaseId, LeaseView, Phase, Release, Reply, ResourceName, TtlMs};
use ratequeue_raft::Group;
use serde::Deserialize;

use super::acquire::wait;
use super::extract::{Leased, Named, Params};
use super::problem::Failure;
use super::route::{self, Whole};
use super::unanswered::Unanswered;
use super::{answer, log_index, translate, unexpected};
use crate::node::Node;
use crate::node::aside::PIECE;

/// The parameters of a look at a lease.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LookParams {
    /// Waits up to so many milliseconds, at most 30,000, for the lease to leave the queue.
    #[serde(default)]
    wait_ms: u64,
}

/// A lease in whatever state it is; with `wait_ms` as soon as it is no longer waiting.
#[utoipa::path(
    get, path = "/v1/leases/{id}", tag = "leases",
    params(("id" = String, Path, description = "The lease"), LookParams),
    responses(
        (status = 200, description = "The lease", body = Lease),
        (status = 404, description = "Never there, or forgotten", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn look(
    State(node): State<Arc<Node>>,
    leased: Leased,
    Params(params): Params<LookParams>,
    call: Whole,
) -> Result<Response, Failure> {
    if params.wait_ms > HOLD_MS_MAX {
        return Err(Failure::bad_request(format!("wait_ms must be 0 to {HOLD_MS_MAX}.")));
    }
    let (hold, node, lease) = (Duration::from_millis(params.wait_ms), &node, leased.id);
    route::by_lease(node, &leased, &call, |group| async move {
        // Whoever has the id can come back.
        let mut unanswered = if hold.is_zero() { Unanswered::glance(&group) } else { Unanswered::new(&group, true) };
        let view = look_unanswered(node, &group, lease, &mut unanswered, hold).await?;
        unanswered.answered();
        Ok(answer(&translate::lease(&view, group.name(), true)))
    })
    .await
}

async fn look_unanswered(
    node: &Node,
    group: &Group,
    lease: LeaseId,
    unanswered: &mut Unanswered,
    hold: Duration,
) -> Result<LeaseView, Failure> {
    let looked = group.look(lease).await?;
    let has_to_claim = unanswered.has_to_claim(&looked);
    let now = looked.view.ok_or_else(Failure::lease_not_found)?;
    match now.phase {
        Phase::Waiting(_) => {
            let (attended, index) = unanswered.attend(lease).await?;
            match attended {
                Some(view) if !matches!(view.phase, Phase::Waiting(_)) => Ok(view),
                view => wait(node, group, unanswered, view.unwrap_or(now), index, hold).await,
            }
        }
        Phase::Held(_) if has_to_claim => match unanswered.attend(lease).await {
            Ok((attended, _)) => Ok(attended.unwrap_or(now)),
            // A full disk takes no claim. What is claimed already can be told all the same.
            Err(failure) if looked.claimed && failure.code() == ErrorCode::StorageFull => Ok(now),
            Err(failure) => Err(failure),
        },
        Phase::Held(_) | Phase::Ended(_) => Ok(now),
    }
}

/// Gives a held lease back, or a place in the queue up.
#[utoipa::path(
    post, path = "/v1/leases/{id}/release", tag = "leases",
    params(("id" = String, Path, description = "The lease"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters")),
    request_body = ReleaseRequest,
    responses(
        (status = 200, description = "Released, or cancelled if it was still in the queue", body = Released),
        (status = 404, description = "Never there, or forgotten", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "It has expired", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn release(State(node): State<Arc<Node>>, leased: Leased, call: Whole) -> Result<Response, Failure> {
    let body: ReleaseRequest = call.json()?;
    let used = &body.used.map(translate::load).transpose()?;
    let lease = leased.id;
    route::by_lease(&node, &leased, &call, |group| async move {
        let release = Release { lease, used: used.clone() };
        let applied = group.submit_anywhere(Command::Release(release)).await?;
        let reply = applied.outcome.map_err(|refusal| Failure::from(refusal).at(applied.index))?;
        let Reply::Released(released) = reply else { return Err(unexpected()) };
        let body = Released {
            id: format!("{}.{}", group.name(), released.id),
            state: translate::lease_state(released.state),
            refunded: translate::amounts(&released.refunded),
            debited: translate::amounts(&released.debited),
        };
        Ok(decided(applied.index, answer(&body)))
    })
    .await
}

/// An answer, with the log index of its decision.
fn decided(index: u64, answer: Response) -> Response {
    let mut headers = HeaderMap::new();
    log_index(&mut headers, index);
    (headers, answer).into_response()
}

/// Gives a held lease a new deadline.
#[utoipa::path(
    post, path = "/v1/leases/{id}/extend", tag = "leases",
    params(("id" = String, Path, description = "The lease"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters")),
    request_body = ExtendRequest,
    responses(
        (status = 200, description = "The lease with its new deadline", body = Lease),
        (status = 404, description = "Never there, or forgotten", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not held", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "It has expired", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn extend(State(node): State<Arc<Node>>, leased: Leased, call: Whole) -> Result<Response, Failure> {
    let body: ExtendRequest = call.json()?;
    let extend = &Extend { lease: leased.id, ttl_ms: body.ttl_ms.map(TtlMs::new).transpose()? };
    route::by_lease(&node, &leased, &call, |group| async move {
        let applied = group.submit_anywhere(Command::Extend(extend.clone())).await?;
        let reply = applied.outcome.map_err(|refusal| Failure::from(refusal).at(applied.index))?;
        let Reply::Extended(view) = reply else { return Err(unexpected()) };
        Ok(decided(applied.index, answer(&translate::lease(&view, group.name(), true))))
    })
    .await
}

/// Which leases a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListState {
    /// Those in the queue, in its order.
    Waiting,
    /// Those that are held, in the order of their acquires.
    Held,
}

/// The parameters of a list of leases.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Which leases: `waiting` or `held`; first the held ones, then the queue, when absent.
    state: Option<ListState>,
    /// Items on the page, 1 to 1,000; 100 when absent.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Where a page begins: after this lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    Held(Option<u64>),
    Waiting(Option<(u8, u64)>),
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        match *text.split('.').collect::<Vec<_>>().as_slice() {
            ["held", seq] => Some(Self::Held(Some(seq.parse().ok()?))),
            ["waiting", priority, seq] => Some(Self::Waiting(Some((priority.parse().ok()?, seq.parse().ok()?)))),
            _ => None,
        }
    }

    /// Whether the list of these leases has such a page.
    fn is_of(self, state: Option<ListState>) -> bool {
        match self {
            Self::Held(_) => state != Some(ListState::Waiting),
            Self::Waiting(_) => state != Some(ListState::Held),
        }
    }

    fn after(last: &LeaseView) -> Self {
        match last.phase {
            Phase::Waiting(_) => Self::Waiting(Some((last.priority, last.id.seq))),
            Phase::Held(_) | Phase::Ended(_) => Self::Held(Some(last.id.seq)),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(after) => write!(f, "held.{}", after.unwrap_or_default()),
            Self::Waiting(after) => {
                let (priority, seq) = after.unwrap_or_default();
                write!(f, "waiting.{priority}.{seq}")
            }
        }
    }
}

/// Who holds a resource, and who waits for it, in order.
#[utoipa::path(
    get, path = "/v1/resources/{name}/leases", tag = "resources",
    params(("name" = String, Path, description = "The resource"), ListParams),
    responses(
        (status = 200, description = "One page", body = List<Lease>),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many lists wait", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(node): State<Arc<Node>>,
    Named(name): Named,
    Params(params): Params<ListParams>,
    call: Whole,
) -> Result<Response, Failure> {
    let max = page_items(params.limit)?;
    let from = match (page_cursor(params.cursor.as_deref())?, params.state) {
        (Some(text), state) => Cursor::parse(text).filter(|cursor| cursor.is_of(state)).ok_or_else(bad_cursor)?,
        (None, Some(ListState::Waiting)) => Cursor::Waiting(None),
        (None, Some(ListState::Held) | None) => Cursor::Held(None),
    };
    let (node, name, state) = (&node, &name, params.state);
    route::by_resource(node, name, &call, |group| async move {
        let wanted = name.clone();
        let read = move || {
            let (views, next_cursor) = page(&group, &wanted, from, state, max)?;
            let items = views.iter().map(|view| translate::lease(view, group.name(), true)).collect();
            Some(answer(&List { items, next_cursor, unreachable: Vec::new() }))
        };
        node.lists.run(read).await?.ok_or_else(|| Failure::resource_not_found(name.as_str()))
    })
    .await
}

/// A page of the leases of a resource, read in pieces; `None` when there is no such resource.
fn page(
    group: &Group,
    name: &ResourceName,
    from: Cursor,
    only: Option<ListState>,
    max: usize,
) -> Option<(Vec<LeaseView>, Option<String>)> {
    let mut views: Vec<LeaseView> = Vec::new();
    let mut at = from;
    // One more than the page has says whether there is another page.
    while views.len() <= max {
        let room = PIECE.min(max + 1 - views.len());
        let piece = group.read(|state, now| match at {
            Cursor::Held(after) => state.held(name, after, room, now),
            Cursor::Waiting(after) => state.waiting(name, after, room, now),
        })?;
        at = match (piece.last(), at) {
            (Some(last), _) => Cursor::after(last),
            (None, Cursor::Held(_)) if only.is_none() => Cursor::Waiting(None),
            (None, Cursor::Held(_) | Cursor::Waiting(_)) => break,
        };
        views.extend(piece);
    }

    let more = views.len() > max;
    views.truncate(max);
    let next = views.last().filter(|_| more).map(|last| Cursor::after(last).to_string());
    Some((views, next))
}

/// The cursor of a page that is not the first one. An empty one is none.
pub fn page_cursor(cursor: Option<&str>) -> Result<Option<&str>, Failure> {
    match cursor {
        Some(text) if text.len() > CURSOR_LEN_MAX => Err(bad_cursor()),
        other => Ok(other.filter(|text| !text.is_empty())),
    }
}

pub fn bad_cursor() -> Failure {
    Failure::bad_request("cursor must be the next_cursor of the page before.")
}

/// The number of items on a page, checked.
pub fn page_items(limit: Option<u64>) -> Result<usize, Failure> {
    match limit.unwrap_or(PAGE_ITEMS_DEFAULT) {
        n @ 1..=PAGE_ITEMS_MAX => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => Err(Failure::bad_request(format!("limit must be 1 to {PAGE_ITEMS_MAX}."))),
    }
}
