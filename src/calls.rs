//! Calls of the API that one node passes on to another: to a region that decides what this one does not.
//!
//! ```text
//!  a node of us-east-1                                a node of eu-west-1
//!    frame > route ── Call ══ peer link, Lane::Call ══> frame > route > handler
//!                  <─ Answer ═══════════════════════════
//! ```
//! A call is passed on once: where it arrives it is decided, or sent back as [`Answer::Misrouted`]. (A put may look at the
//! region that its name is claimed for, which is a call of its own.) It carries its idempotency key, so that it may be
//! repeated at another node of the region. When the caller leaves, the link tells the other node, whose handler is dropped
//! too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use ratequeue_api::caps::HOLD_MS_MAX;
use ratequeue_api::cluster::NodeView;
use ratequeue_api::{ErrorCode, Lease, Problem, header as names};
use ratequeue_raft::{Calls, NodeId, TransportError};
use ratequeue_storage::caps::NODE_ANSWER_BYTES_MAX;
use ratequeue_storage::{codec, keys};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::http::take_off;
use crate::node::regions::{Regions, address};

/// For how many microseconds a node had a call, on the way of its answer between nodes.
const HANDLED_US: &str = "ratequeue-handled-us";

/// What of a request goes along.
const HEADERS: [HeaderName; 5] = [
    HeaderName::from_static(names::IDEMPOTENCY_KEY),
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
];

/// Nodes of a region that are tried, one after the other.
const NODES_TRIED_MAX: usize = 3;

/// How long a node may take: the longest that a call is held open, and some more.
const ANSWER_WITHIN: Duration = Duration::from_millis(HOLD_MS_MAX + 15_000);

/// A call, as it can be made again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    method: String,
    /// Path and query.
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What a node answers to a call that was passed on to it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Response {
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    },
    /// The resource does not live there.
    Misrouted,
}

/// Why a call that was passed on has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPassed {
    /// Nothing happened: no node of the region can be reached.
    Unreachable,
    /// A node was lost before it answered.
    Unknown,
    /// Nothing happened: the resource does not live there.
    Misrouted,
}

/// Marks a request that another node passed on.
#[derive(Debug, Clone, Copy)]
pub struct PassedOn;

/// Marks the answer to a request that was passed on to the wrong region.
#[derive(Debug, Clone, Copy)]
pub struct Misrouted;

impl Call {
    /// A call with these parts.
    pub fn new(method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let headers = HEADERS.into_iter().filter_map(|name| {
            let value = headers.get(&name)?;
            Some((name.as_str().to_owned(), value.as_bytes().to_vec()))
        });
        Self {
            method: method.as_str().to_owned(),
            path: path.to_owned(),
            headers: headers.collect(),
            body: body.to_vec(),
        }
    }

    fn into_request(self) -> Option<Request> {
        let mut request = Request::builder().method(self.method.as_str()).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.extension(PassedOn).body(Body::from(self.body)).ok()
    }
}

impl Answer {
    /// Only a page of a list can be.
    fn too_large() -> Self {
        let detail = "The page is too large to be passed on from another region: ask with a lower limit.";
        let problem = Problem::new(ErrorCode::BadRequest, detail);
        let headers = vec![(header::CONTENT_TYPE.as_str().to_owned(), b"application/problem+json".to_vec())];
        // A problem is made of strings and numbers, which always have a JSON form.
        Self::Response { status: problem.status, headers, body: serde_json::to_vec(&problem).unwrap_or_default() }
    }

    /// The answer of a node that has had the call for `handled`.
    async fn of(response: Response, since: Instant) -> Result<Self, String> {
        let (parts, body) = response.into_parts();
        if parts.extensions.get::<Misrouted>().is_some() {
            return Ok(Self::Misrouted);
        }
        let Ok(body) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else { return Ok(Self::too_large()) };
        let body = body.to_bytes().to_vec();
        let own = |name: &HeaderName| *name != header::CONTENT_LENGTH && *name != header::DATE;
        let headers = parts.headers.iter().filter(|(name, _)| own(name));
        let mut headers: Vec<_> =
            headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
        headers.push((HANDLED_US.to_owned(), since.elapsed().as_micros().to_string().into_bytes()));
        Ok(Self::Response { status: parts.status.as_u16(), headers, body })
    }
}

/// What of an answer's room its headers may take.
const HEADERS_BYTES: usize = 32 * 1024;
/// The body of an answer.
const ANSWER_BYTES_MAX: usize = NODE_ANSWER_BYTES_MAX - HEADERS_BYTES;

fn response(status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>) -> Option<Response> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    for (name, value) in headers {
        response.headers_mut().append(name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?);
    }
    Some(response)
}

/// Answers the calls that other nodes pass on, in the same way as those of clients: each in a task of its own, on the threads
/// of the clients' calls. The link, which hands them over, has its threads for itself.
#[derive(Debug)]
pub struct Passed {
    service: TowerToHyperService<axum::Router>,
    runtime: Handle,
}

impl Passed {
    /// Must be called on the runtime that is to answer.
    pub fn new(router: axum::Router) -> Self {
        Self { service: TowerToHyperService::new(router), runtime: Handle::current() }
    }
}

/// Handles a call, and makes a frame of its answer.
async fn handle(service: TowerToHyperService<axum::Router>, frame: Bytes) -> Result<Bytes, String> {
    let since = Instant::now();
    let call: Call = codec::decode(keys::NODE_CALL, &frame).map_err(|error| error.to_string())?;
    let request = call.into_request().ok_or_else(|| "it is no request".to_owned())?;

    // A router cannot fail.
    let answer = match service.call(request).await {
        Ok(response) => Answer::of(response, since).await?,
        Err(never) => match never {},
    };
    encode(&answer)
}

fn encode(answer: &Answer) -> Result<Bytes, String> {
    codec::encode(keys::NODE_ANSWER, answer).map(Bytes::from).map_err(|error| error.to_string())
}

/// The answer to a call whose task has died. A refusal of the link would say that nothing has happened.
fn died() -> Answer {
    let code = ErrorCode::UnknownOutcome;
    let detail =
        "The node that handled it failed. Repeat the call with the same Idempotency-Key to learn what happened.";
    let problem = Problem::new(code, detail);
    let kind = (header::CONTENT_TYPE.as_str().to_owned(), b"application/problem+json".to_vec());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    Answer::Response { status: code.status(), headers: vec![kind], body }
}

impl Calls for Passed {
    fn handle(&self, _from: NodeId, frame: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let handling = AbortOnDropHandle::new(self.runtime.spawn(handle(self.service.clone(), frame)));
        async move {
            match handling.await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::error!(%error, "a call that was passed on has failed");
                    encode(&died())
                }
            }
        }
        .boxed()
    }
}

/// Passes a call on to a region, to one node after the other until one answers.
///
/// # Errors
/// [`NotPassed`] says whether anything may have happened.
pub async fn pass_on(regions: &Arc<Regions>, region: &str, call: &Call) -> Result<Response, NotPassed> {
    if !regions.is_reachable(region).await {
        return Err(NotPassed::Unreachable);
    }
    let Ok(frame) = codec::encode(keys::NODE_CALL, call).map(Bytes::from) else { return Err(NotPassed::Unreachable) };
    let mut lost = NotPassed::Unreachable;
    let mut refused = None;
    for node in regions.nodes_of(region).into_iter().take(NODES_TRIED_MAX) {
        match ask(regions, &node, frame.clone()).await {
            Ok(Answer::Misrouted) if lost == NotPassed::Unreachable => return Err(NotPassed::Misrouted),
            Ok(Answer::Misrouted) => {}
            Ok(Answer::Response { status, headers, body }) if status == StatusCode::SERVICE_UNAVAILABLE.as_u16() => {
                // Another node of the region may be better off. What may have happened stays so, whatever the next one says.
                if may_have_happened(&body) {
                    lost = NotPassed::Unknown;
                }
                refused = response(status, headers, body);
            }
            Ok(Answer::Response { status, headers, body }) => {
                return response(status, headers, body).ok_or(NotPassed::Unknown);
            }
            Err(NotPassed::Unknown) => lost = NotPassed::Unknown,
            Err(NotPassed::Unreachable | NotPassed::Misrouted) => {}
        }
    }
    match refused {
        Some(response) if lost == NotPassed::Unreachable => Ok(response),
        Some(_) | None => Err(lost),
    }
}

/// True unless a refusal says for certain that nothing happened. One that cannot be read does not say it.
fn may_have_happened(problem: &[u8]) -> bool {
    serde_json::from_slice::<Problem>(problem).map_or(true, |problem| !problem.no_effect())
}

/// Asks one node something, and gives the body of its answer.
///
/// # Errors
/// Why there is none, also when the answer is no success.
pub async fn ask_node(regions: &Regions, node: &NodeView, call: &Call, within: Duration) -> Result<Vec<u8>, String> {
    let peers = regions.peers().ok_or("this node was started with a file of one node")?;
    let frame = codec::encode(keys::NODE_CALL, call).map_err(|error| error.to_string())?;
    let answered = peers.call_node(node.id, &address(node), Bytes::from(frame), within).await;
    let frame = answered.map_err(|error| error.to_string())?;
    match codec::decode(keys::NODE_ANSWER, &frame).map_err(|error| error.to_string())? {
        Answer::Response { status, body, .. } if status == StatusCode::OK.as_u16() => Ok(body),
        Answer::Response { status, body, .. } => {
            let problem = serde_json::from_slice::<Problem>(&body).ok();
            Err(problem.map_or_else(|| format!("it answered with status {status}"), |problem| problem.detail))
        }
        Answer::Misrouted => Err("it sent the call back".to_owned()),
    }
}

async fn ask(regions: &Regions, node: &NodeView, frame: Bytes) -> Result<Answer, NotPassed> {
    let Some(peers) = regions.peers() else { return Err(NotPassed::Unreachable) };
    if regions.contact(&node.region).silent.contains(&node.id) {
        return Err(NotPassed::Unreachable);
    }
    let (address, asked) = (address(node), Instant::now());
    let answered = tokio::select! {
        answered = peers.call_node(node.id, &address, frame, ANSWER_WITHIN) => answered,
        () = regions.silent(&node.region, node.id) => return Err(NotPassed::Unknown),
    };
    match answered {
        Ok(frame) => match codec::decode(keys::NODE_ANSWER, &frame) {
            Ok(answer) => Ok(arrived(answer, asked)),
            Err(error) => {
                tracing::warn!(node = node.id, %error, "the answer of a node cannot be read");
                Err(NotPassed::Unknown)
            }
        },
        Err(TransportError::Unreachable(_) | TransportError::Overloaded) => Err(NotPassed::Unreachable),
        Err(TransportError::Broken(_)) => Err(NotPassed::Unknown),
    }
}

/// An answer as it is here: what it says of the time that a lease has left is as old as its way was long.
fn arrived(answer: Answer, asked: Instant) -> Answer {
    let Answer::Response { status, mut headers, body } = answer else { return answer };
    let handled = headers.iter().position(|(name, _)| name == HANDLED_US).map(|at| headers.swap_remove(at).1);
    let handled_us = handled.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    let way = handled_us.map(|us| asked.elapsed().saturating_sub(Duration::from_micros(us)));

    let body = match (way, serde_json::from_slice::<Lease>(&body)) {
        (Some(way), Ok(mut lease)) if status == StatusCode::OK.as_u16() && lease.expires_in_ms.is_some() => {
            take_off(&mut lease, way);
            serde_json::to_vec(&lease).unwrap_or(body)
        }
        _ => body,
    };
    Answer::Response { status, headers, body }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::{Barrier, mpsc};

    use axum::Router;
    use axum::routing::get;
    use futures::future::join;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn passed(path: &str, handler: axum::routing::MethodRouter) -> Passed {
        Passed::new(Router::new().route(path, handler))
    }

    fn frame(path: &str) -> Bytes {
        codec::encode(keys::NODE_CALL, &Call::new(&Method::GET, path, &HeaderMap::new(), b"")).unwrap().into()
    }

    fn answer_of(frame: Result<Bytes, String>) -> (u16, Vec<u8>) {
        match codec::decode(keys::NODE_ANSWER, &frame.unwrap()).unwrap() {
            Answer::Response { status, body, .. } => (status, body),
            Answer::Misrouted => panic!("misrouted"),
        }
    }

    /// Both are polled by one task, as the link polls them. Each blocks its thread until the other is there too.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_call_that_blocks_its_thread_does_not_stop_another() {
        let barrier = Arc::new(Barrier::new(2));
        let meet = move || {
            let (met, meets) = mpsc::channel();
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || (barrier.wait(), met.send(())));
            let has_met = meets.recv_timeout(PATIENCE).is_ok();
            async move { if has_met { "both" } else { "alone" } }
        };
        let passed = passed("/meet", get(meet));
        let (one, two) = join(passed.handle(1, frame("/meet")), passed.handle(1, frame("/meet"))).await;
        assert_eq!([answer_of(one), answer_of(two)], [(200, b"both".to_vec()), (200, b"both".to_vec())]);
    }

    #[tokio::test]
    async fn a_panic_ends_one_call_and_leaves_its_outcome_unknown() {
        let passed = passed("/die", get(async || -> &'static str { panic!("it dies") }));
        let (status, body) = answer_of(passed.handle(1, frame("/die")).await);
        assert_eq!(status, 503);
        assert!(may_have_happened(&body), "nothing is known of what it did");
        assert_eq!(answer_of(passed.handle(1, frame("/nothing")).await).0, 404);
    }

    #[tokio::test]
    async fn a_call_whose_caller_leaves_is_dropped() {
        let (dropped, is_dropped) = tokio::sync::oneshot::channel::<()>();
        let dropped = Arc::new(parking_lot::Mutex::new(Some(dropped)));
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let stay = move || {
            let (guard, begun) = (dropped.lock().take(), begun.clone());
            async move {
                begun.send(()).await.unwrap();
                std::future::pending::<()>().await;
                drop(guard);
            }
        };
        let passed = passed("/stay", get(stay));
        let handling = passed.handle(1, frame("/stay"));
        let leaving = async { begins.recv().await.unwrap() };
        tokio::select! {
            _ = handling => panic!("it does not end"),
            () = leaving => {}
        }
        assert!(tokio::time::timeout(PATIENCE, is_dropped).await.unwrap().is_err());
    }

    #[test]
    fn only_what_is_known_to_be_without_effect_did_not_happen() {
        let refusal = |code: &str| {
            let mut body = serde_json::to_value(Problem::new(ErrorCode::NoQuorum, "d")).unwrap();
            body["code"] = code.into();
            body.to_string()
        };
        for (body, may) in [
            (refusal("no-quorum"), false),
            (refusal("unknown-outcome"), true),
            (refusal("shutting-down"), true),
            (refusal("of-a-later-version"), true),
            ("<html>".to_owned(), true),
            (String::new(), true),
        ] {
            assert_eq!(may_have_happened(body.as_bytes()), may, "{body}");
        }
    }

    /// To be changed only together with a new schema ordinal.
    #[test]
    fn has_its_golden_bytes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("a")),
            (header::HOST, HeaderValue::from_static("not passed on")),
        ]);
        let call = Call::new(&Method::PUT, "/v1/x?y", &headers, b"{}");
        let answer = Answer::Response { status: 201, headers: vec![("b".to_owned(), b"c".to_vec())], body: vec![1] };
        let bytes = codec::encode(keys::NODE_CALL, &call).unwrap();
        assert_eq!(codec::decode::<Call>(keys::NODE_CALL, &bytes).unwrap(), call);
        assert_eq!(
            hex(bytes),
            "5251010e1f000000e7e3bf0c03505554072f76312f783f79010c636f6e74656e742d747970650161027b7d"
        );
        assert_eq!(
            hex(codec::encode(keys::NODE_ANSWER, &answer).unwrap()),
            "5251010f09000000cd4ea55300c901016201630101"
        );
        assert_eq!(hex(codec::encode(keys::NODE_ANSWER, &Answer::Misrouted).unwrap()), "5251010f01000000e483c16101");
    }
}
