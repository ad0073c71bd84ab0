//! Routing: each call goes to the group that decides it, in this node or in another region.
//!
//! ```text
//!  resource here, or global ──> the handler's closure, given the group
//!  resource of another region ──> passed on to a node there, once
//!  not known ──> the catalog is asked (linearizable read), then the same
//! ```
//! What this node knows of the catalog may lag. So when a resource is not found where it was believed to be, the catalog is
//! asked and the call made again; nothing has happened until then.

use std::collections::BTreeSet;

use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ratequeue_api::{ErrorCode, header as names};
use ratequeue_limiter::ResourceName;
use ratequeue_raft::{Group, SubmitError};
use serde::de::DeserializeOwned;

use super::extract::{Json, Leased, RequestKey, read};
use super::problem::Failure;
use crate::calls::{self, Call, Misrouted, NotPassed, PassedOn};
use crate::config::GLOBAL;
use crate::node::catalog::Home;
use crate::node::{Member, Node};

/// The group that decided a call: whose leader the answer names.
#[derive(Debug, Clone)]
pub struct Placed(pub Group);

/// A request that can be handled, or passed on, more than once.
#[derive(Debug)]
pub struct Whole {
    parts: Parts,
    body: Vec<u8>,
}

impl<S: Sync> FromRequest<S> for Whole {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        Ok(Self { parts, body: read(body).await? })
    }
}

impl Whole {
    /// Its body; an empty one counts as `{}`.
    ///
    /// # Errors
    /// When it says that it is no JSON, or is none, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Json::of(&self.parts.headers, &self.body).map(|Json(value)| value)
    }

    /// Another node has passed it on to this one.
    pub fn is_passed_on(&self) -> bool {
        self.parts.extensions.get::<PassedOn>().is_some()
    }

    /// The same call with another method and without a body.
    pub fn look(&self, method: &Method) -> Call {
        Call::new(method, self.path(), &self.headers(), b"")
    }

    /// It came with a key, so it can come again: from its caller, or from the node that passed it on, which made the key up.
    pub fn can_return(&self) -> bool {
        self.parts.headers.contains_key(names::IDEMPOTENCY_KEY)
    }

    /// Whether it is an acquire or a look, which are held open until a lease leaves the queue.
    fn may_wait(&self) -> bool {
        let is_acquire = self.parts.method == Method::POST && self.parts.uri.path().ends_with("/acquire");
        is_acquire || self.is_read()
    }

    /// It changes nothing.
    fn is_read(&self) -> bool {
        self.parts.method == Method::GET || self.parts.method == Method::HEAD
    }

    fn path(&self) -> &str {
        self.parts.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Its headers, with the key that was made up for it if its caller gave none.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.parts.headers.clone();
        let key = self.parts.extensions.get::<RequestKey>().and_then(|key| key.0.as_str().parse().ok());
        key.map(|key| headers.insert(names::IDEMPOTENCY_KEY, key));
        headers
    }

    /// Passes it on to another region.
    ///
    /// # Errors
    /// [`NotPassed`] says whether anything may have happened.
    pub async fn pass_on(&self, member: &Member, region: &str) -> Result<Response, NotPassed> {
        let call = Call::new(&self.parts.method, self.path(), &self.headers(), &self.body);
        let passed = calls::pass_on(&member.regions, region, &call).await;
        // A look changes nothing, however it was lost.
        passed.map_err(|lost| match lost {
            NotPassed::Unknown if self.is_read() => NotPassed::Unreachable,
            NotPassed::Unknown | NotPassed::Unreachable | NotPassed::Misrouted => lost,
        })
    }
}

/// Has a call of a resource answered where it lives: by `handle` in a group of this node, or in another region.
///
/// # Errors
/// When nobody can say where it lives, or it cannot be reached there.
pub async fn by_resource<H, F>(node: &Node, name: &ResourceName, call: &Whole, handle: H) -> Result<Response, Failure>
where
    H: Fn(Group) -> F,
    F: Future<Output = Result<Response, Failure>>,
{
    let about = |failure: Failure| failure.about(name.as_str());
    let routed = Routed { node, member: node.joined_member()?, call, handle };
    if let Some(home) = routed.member.locate(name) {
        let response = routed.at(&home).await.map_err(about)?;
        if !is_lost(&response) {
            return Ok(response);
        }
    }
    let Some(home) = routed.member.locate_surely(name).await.map_err(|error| about(error.into()))? else {
        return routed.nowhere(name).await.map_err(about);
    };
    let response = routed.at(&home).await.map_err(about)?;
    if response.extensions().get::<Misrouted>().is_none() {
        return Ok(response);
    }
    if !call.is_passed_on() {
        return Err(about(moving()));
    }

    // It may have been made when the resource was here.
    if call.parts.method == Method::PATCH {
        let remembered = routed.at(&routed.own()).await.map_err(about)?;
        if !is_lost(&remembered) {
            return Ok(remembered);
        }
    }
    Ok(response)
}

/// The answer that a change got where the resource was until a moment ago: a change that is repeated is not made again on another
/// resource of the name. It is looked for as far as this node knows the catalog.
///
/// # Errors
/// When one of those places cannot be asked.
pub async fn recall<H, F>(
    node: &Node,
    name: &ResourceName,
    call: &Whole,
    handle: &H,
) -> Result<Option<Response>, Failure>
where
    H: Fn(Group) -> F,
    F: Future<Output = Result<Response, Failure>>,
{
    let routed = Routed { node, member: node.joined_member()?, call, handle };
    if call.is_passed_on() || !call.can_return() {
        return Ok(None);
    }

    let here = routed.member.locate(name).map(|home| home.placement);
    for placement in routed.member.past_places(name) {
        if here.as_deref() == Some(placement.as_str()) {
            continue;
        }
        let answer = routed.at(&Home { placement: placement.to_string(), claim: None }).await?;
        if !is_lost(&answer) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// Has a call of a lease answered in the group that its id names.
///
/// # Errors
/// When there is no such group, or it cannot be reached.
pub async fn by_lease<H, F>(node: &Node, leased: &Leased, call: &Whole, handle: H) -> Result<Response, Failure>
where
    H: Fn(Group) -> F,
    F: Future<Output = Result<Response, Failure>>,
{
    let member = node.joined_member()?;
    if let Some(group) = member.group_of(&leased.group) {
        return Ok(placed(group, handle(group.clone()).await));
    }
    if call.is_passed_on() {
        return Err(Failure::lease_not_found());
    }
    if !member.regions.has(&leased.group) {
        // It may have been added a moment ago.
        member.global.linearize_anywhere().await?;
        if !member.regions.has(&leased.group) {
            return Err(Failure::lease_not_found());
        }
    }
    let passed = unless_stopping(node, call, call.pass_on(member, &leased.group)).await?;
    passed.map_err(|lost| not_passed(&leased.group, lost))
}

/// A call that was passed on and may wait in the queue there is not waited for when this node stops.
async fn unless_stopping<T>(node: &Node, call: &Whole, passed: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        passed = passed => Ok(passed),
        () = node.stopping(), if call.may_wait() => Err(Failure::shutting_down()),
    }
}

/// An answer, or a failure, of this group.
fn placed(group: &Group, answer: Result<Response, Failure>) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(Placed(group.clone()));
    response
}

/// A call, and how a group of this node answers it.
struct Routed<'a, H> {
    node: &'a Node,
    member: &'a Member,
    call: &'a Whole,
    handle: H,
}

impl<H, F> Routed<'_, H>
where
    H: Fn(Group) -> F,
    F: Future<Output = Result<Response, Failure>>,
{
    async fn at(&self, home: &Home) -> Result<Response, Failure> {
        if let Some(group) = self.member.group_of(&home.placement) {
            return Ok(placed(group, (self.handle)(group.clone()).await));
        }
        if self.call.is_passed_on() {
            return Ok(misrouted());
        }
        match unless_stopping(self.node, self.call, self.call.pass_on(self.member, &home.placement)).await? {
            Ok(response) => Ok(response),
            Err(NotPassed::Misrouted) => Ok(misrouted()),
            Err(lost) => Err(not_passed(&home.placement, lost)),
        }
    }

    /// The region of this node.
    fn own(&self) -> Home {
        Home { placement: self.member.region.name().to_owned(), claim: None }
    }

    /// There is no resource of this name. A write with a key is refused by the group of this region, which may remember it from
    /// when there was one; a delete is remembered where the resource was. A key that was made up for this call cannot be
    /// remembered anywhere, so without one of its own no log has to know of the call.
    async fn nowhere(&self, name: &ResourceName) -> Result<Response, Failure> {
        if self.call.is_read() || !self.call.can_return() {
            return Err(Failure::resource_not_found(name.as_str()));
        }
        let home = |placement: &str| Home { placement: placement.to_owned(), claim: None };
        let response = self.at(&self.own()).await?;
        if self.call.parts.method != Method::DELETE || !is_not_found(&response) {
            return Ok(response);
        }
        let others = if self.call.is_passed_on() { BTreeSet::new() } else { self.member.regions.others() };
        for placement in [GLOBAL.to_owned()].into_iter().chain(others) {
            // One that cannot be asked may remember it. The resource is gone in either case, and that is what 404 says too.
            match self.at(&home(&placement)).await {
                Ok(answer) if !is_lost(&answer) && !answer.status().is_server_error() => return Ok(answer),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(response)
    }
}

/// It is not where it was believed to be.
fn is_lost(response: &Response) -> bool {
    response.extensions().get::<Misrouted>().is_some() || is_not_found(response)
}

/// No resource of this name, says a handler or another node.
pub fn is_not_found(response: &Response) -> bool {
    match response.extensions().get::<Failure>() {
        Some(failure) => failure.code() == ErrorCode::ResourceNotFound,
        // Of what another node answers to a call of a resource, nothing else is not found.
        None => response.status() == StatusCode::NOT_FOUND && response.headers().contains_key(names::SERVED_BY),
    }
}

/// What a node answers to a call that it should not have been passed.
pub fn misrouted() -> Response {
    let mut response = moving().into_response();
    response.extensions_mut().insert(Misrouted);
    response
}

/// A resource that is deleted in one region and created in another while it is called.
pub fn moving() -> Failure {
    let detail = "The resource is just being moved. Nothing happened: try again in a moment.";
    Failure::new(ErrorCode::NoQuorum, detail)
}

pub fn not_passed(region: &str, lost: NotPassed) -> Failure {
    match lost {
        NotPassed::Unreachable => Failure::new(
            ErrorCode::NoQuorum,
            format!(
                "It is decided in {region}, which cannot be reached from here. Nothing happened: try again, or there."
            ),
        ),
        NotPassed::Unknown => {
            let failure = Failure::from(SubmitError::UnknownOutcome);
            failure.with_detail(format!(
                "A node of {region} was lost before it answered. Repeat the call with the same Idempotency-Key to learn what \
                 happened."
            ))
        }
        NotPassed::Misrouted => moving(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;

    use super::*;

    #[test]
    fn reads_and_calls_that_wait_are_told_by_method_and_path() {
        let of = |method: Method, path: &str| {
            let (parts, _) = Request::builder().method(method).uri(path).body(Body::empty()).unwrap().into_parts();
            let call = Whole { parts, body: Vec::new() };
            (call.is_read(), call.may_wait())
        };
        assert_eq!(of(Method::GET, "/v1/leases/a.0"), (true, true));
        assert_eq!(of(Method::HEAD, "/v1/leases/a.0"), (true, true));
        assert_eq!(of(Method::POST, "/v1/resources/a/acquire"), (false, true));
        assert_eq!(of(Method::PUT, "/v1/resources/acquire"), (false, false));
        assert_eq!(of(Method::PUT, "/v1/resources/a%2Facquire"), (false, false));
    }
}
