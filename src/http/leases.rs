//! A lease after its acquire: look, release, extend; and the lists of who waits and who holds.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use ratequeue_api::caps::{CURSOR_LEN_MAX, HOLD_MS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use ratequeue_api::{ExtendRequest, Lease, List, Problem, ReleaseRequest, Released};
use ratequeue_limiter::{Extend, Release, TtlMs};
use serde::Deserialize;

use super::convert;
use super::extract::{BufferedRequest, LeasePath, QueryParams, ResourcePath};
use super::problem::Failure;
use super::respond::respond;
use super::response::json_response;
use crate::service::{self, LeaseCursor, LeasePage, LeaseQuery, Service};

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
    State(service): State<Service>,
    lease: LeasePath,
    QueryParams(params): QueryParams<LookParams>,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    if params.wait_ms > HOLD_MS_MAX {
        return Err(Failure::bad_request(format!("wait_ms must be 0 to {HOLD_MS_MAX}.")));
    }

    let hold = Duration::from_millis(params.wait_ms);
    let answered = service.look(&lease.group, lease.id, hold, &call.into_incoming()).await?;
    Ok(respond(answered, |view, group| json_response(&convert::lease(&view, group, true))))
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
pub async fn release(
    State(service): State<Service>,
    lease: LeasePath,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let body: ReleaseRequest = call.json()?;
    let release = Release { lease: lease.id, used: body.used.map(convert::load).transpose()? };

    let answered = service.release(&lease.group, &release, &call.into_incoming()).await?;
    Ok(respond(answered, |released, group| {
        json_response(&Released {
            id: format!("{group}.{}", released.id),
            state: convert::lease_state(released.state),
            refunded: convert::amounts(&released.refunded),
            debited: convert::amounts(&released.debited),
        })
    }))
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
pub async fn extend(
    State(service): State<Service>,
    lease: LeasePath,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let body: ExtendRequest = call.json()?;
    let extend = Extend { lease: lease.id, ttl_ms: body.ttl_ms.map(TtlMs::new).transpose()? };

    let answered = service.extend(&lease.group, &extend, &call.into_incoming()).await?;
    Ok(respond(answered, |view, group| json_response(&convert::lease(&view, group, true))))
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

fn parse_cursor(text: &str) -> Option<LeaseCursor> {
    match *text.split('.').collect::<Vec<_>>().as_slice() {
        ["held", seq] => Some(LeaseCursor::Held(Some(seq.parse().ok()?))),
        ["waiting", priority, seq] => {
            Some(LeaseCursor::Waiting(Some((priority.parse().ok()?, seq.parse().ok()?))))
        }
        _ => None,
    }
}

fn cursor_text(cursor: LeaseCursor) -> String {
    match cursor {
        LeaseCursor::Held(after) => format!("held.{}", after.unwrap_or_default()),
        LeaseCursor::Waiting(after) => {
            let (priority, seq) = after.unwrap_or_default();
            format!("waiting.{priority}.{seq}")
        }
    }
}

/// Whether the list of these leases has a page that begins there.
fn is_of(cursor: LeaseCursor, state: Option<ListState>) -> bool {
    match cursor {
        LeaseCursor::Held(_) => state != Some(ListState::Waiting),
        LeaseCursor::Waiting(_) => state != Some(ListState::Held),
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
    State(service): State<Service>,
    ResourcePath(resource): ResourcePath,
    QueryParams(params): QueryParams<ListParams>,
    call: BufferedRequest,
) -> Result<Response, Failure> {
    let max = page_items(params.limit)?;
    let from = match (page_cursor(params.cursor.as_deref())?, params.state) {
        (Some(text), state) => {
            parse_cursor(text).filter(|cursor| is_of(*cursor, state)).ok_or_else(bad_cursor)?
        }
        (None, Some(ListState::Waiting)) => LeaseCursor::Waiting(None),
        (None, Some(ListState::Held) | None) => LeaseCursor::Held(None),
    };
    let state = params.state.map(|state| match state {
        ListState::Waiting => service::ListState::Waiting,
        ListState::Held => service::ListState::Held,
    });

    let query = LeaseQuery { resource, state, from, max };
    let answered = service.list_leases(&query, &call.into_incoming(), show_page).await?;
    Ok(respond(answered, |response, _| response))
}

fn show_page(page: LeasePage, group: &str) -> Response {
    let items: Vec<Lease> =
        page.leases.iter().map(|view| convert::lease(view, group, true)).collect();
    json_response(&List { items, next_cursor: page.next.map(cursor_text), unreachable: Vec::new() })
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
