//! Routing: each call goes to the group that decides it, in this node or in another region.
//!
//! ```text
//!  resource here, or global ──> handler, with the group as `Placed`
//!  resource of another region ──> passed on to a node there, once
//!  not known ──> the catalog is asked (linearizable read), then the same
//! ```
//! What this node knows of the catalog may lag. So when a resource is not found where it was believed to be, the catalog is
//! asked and the call made again; nothing has happened until then.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ratequeue_api::{ErrorCode, header as names};
use ratequeue_limiter::ResourceName;
use ratequeue_raft::{Group, SubmitError};

use super::extract::{Leased, Named, RequestKey, read};
use super::problem::Failure;
use crate::calls::{self, Call, Misrouted, NotPassed, PassedOn};
use crate::catalog::{GLOBAL, Home};
use crate::node::{Member, Node};

/// The group that decides a call.
#[derive(Debug, Clone)]
pub struct Placed(pub Group);

impl<S: Sync> FromRequestParts<S> for Placed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Every route that asks for it is behind the layer that puts it there.
        parts.extensions.get::<Self>().cloned().ok_or_else(super::unexpected)
    }
}

/// A request that can be handled, or passed on, more than once.
#[derive(Debug)]
pub struct Whole {
    parts: Parts,
    pub body: Bytes,
}

impl Whole {
    /// Takes the body in.
    ///
    /// # Errors
    /// When it is too large, or does not arrive.
    pub async fn read(request: Request) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        Ok(Self { parts, body: read(body).await?.into() })
    }

    /// Another node has passed it on to this one.
    pub fn is_passed_on(&self) -> bool {
        self.parts.extensions.get::<PassedOn>().is_some()
    }

    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    fn placed(&self, group: &Group) -> Request {
        let mut parts = self.parts.clone();
        parts.extensions.insert(Placed(group.clone()));
        Request::from_parts(parts, Body::from(self.body.clone()))
    }

    /// The same call with another method and without a body.
    pub fn look(&self, method: &Method) -> Call {
        Call::new(method, self.path(), &self.headers(), b"")
    }

    fn path(&self) -> &str {
        self.parts.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Its headers, with the key that was made up for it if its caller gave none.
    fn headers(&self) -> axum::http::HeaderMap {
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
            NotPassed::Unknown if self.parts.method == Method::GET => NotPassed::Unreachable,
            NotPassed::Unknown | NotPassed::Unreachable | NotPassed::Misrouted => lost,
        })
    }
}

/// Calls of a resource.
pub async fn by_resource(
    Extension(node): Extension<Arc<Node>>,
    Named(name): Named,
    request: Request,
    next: Next,
) -> Response {
    match to_resource(&node, &name, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.about(name.as_str()).into_response(),
    }
}

async fn to_resource(node: &Node, name: &ResourceName, request: Request, next: Next) -> Result<Response, Failure> {
    let member = node.joined_member()?;
    let call = Whole::read(request).await?;
    let believed = member.locate(name);
    if let Some(home) = &believed {
        let response = decide(member, &call, home, next.clone()).await?;
        if !is_lost(&response) {
            return Ok(response);
        }
    }
    let Some(home) = member.locate_surely(name).await? else { return nowhere(member, &call, name, next).await };
    let response = decide(member, &call, &home, next).await?;
    if response.extensions().get::<Misrouted>().is_some() && !call.is_passed_on() {
        return Err(moving());
    }
    Ok(response)
}

/// There is no resource of this name. A write is refused by the group of this region, which may remember its request from
/// when there was one; a delete is remembered where the resource was.
async fn nowhere(member: &Member, call: &Whole, name: &ResourceName, next: Next) -> Result<Response, Failure> {
    let method = &call.parts.method;
    if method == Method::GET {
        return Err(Failure::resource_not_found(name.as_str()));
    }
    let home = |placement: &str| Home { placement: placement.to_owned(), claim: None };
    let response = decide(member, call, &home(member.region.name()), next.clone()).await?;
    if method != Method::DELETE || !is_not_found(&response) {
        return Ok(response);
    }
    let others = if call.is_passed_on() { BTreeSet::new() } else { member.regions.others() };
    for placement in [GLOBAL.to_owned()].into_iter().chain(others) {
        // A region that cannot be asked may remember it; so nobody can say for certain that it was not deleted there.
        let answer = decide(member, call, &home(&placement), next.clone()).await?;
        if !is_lost(&answer) {
            return Ok(answer);
        }
    }
    Ok(response)
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

async fn decide(member: &Member, call: &Whole, home: &Home, next: Next) -> Result<Response, Failure> {
    if let Some(group) = member.group_of(&home.placement) {
        let mut response = next.run(call.placed(group)).await;
        response.extensions_mut().insert(Placed(group.clone()));
        return Ok(response);
    }
    if call.is_passed_on() {
        return Ok(misrouted());
    }
    match call.pass_on(member, &home.placement).await {
        Ok(response) => Ok(response),
        Err(NotPassed::Misrouted) => Ok(misrouted()),
        Err(lost) => Err(not_passed(&home.placement, lost)),
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

/// Calls of a lease, whose id names its group.
pub async fn by_lease(Extension(node): Extension<Arc<Node>>, leased: Leased, request: Request, next: Next) -> Response {
    to_lease(&node, &leased, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn to_lease(node: &Node, leased: &Leased, request: Request, next: Next) -> Result<Response, Failure> {
    let member = node.joined_member()?;
    if let Some(group) = member.group_of(&leased.group) {
        let mut request = request;
        request.extensions_mut().insert(Placed(group.clone()));
        let mut response = next.run(request).await;
        response.extensions_mut().insert(Placed(group.clone()));
        return Ok(response);
    }
    let call = Whole::read(request).await?;
    if call.is_passed_on() || !member.regions.names().contains(&leased.group) {
        return Err(Failure::lease_not_found());
    }
    call.pass_on(member, &leased.group).await.map_err(|lost| not_passed(&leased.group, lost))
}

/// Whether this is a placement that a resource can have; what there is otherwise.
///
/// # Errors
/// The text names all that is allowed.
pub fn check_placement(member: &Member, placement: &str) -> Result<(), Failure> {
    let names = member.regions.names();
    if placement == GLOBAL || names.contains(placement) {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().chain([GLOBAL.to_owned()]).collect();
    let detail = format!("placement is {placement:?}: must be one of {}.", names.join(", "));
    Err(Failure::new(ErrorCode::InvalidResource, detail))
}
