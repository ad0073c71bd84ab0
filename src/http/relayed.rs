//! Calls and replies of the API in the bytes in which they cross to another region.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use ratequeue_api::{ErrorCode, Lease, Problem, header as names};

use ratequeue_codec::caps::NODE_ANSWER_BYTES_MAX;
use ratequeue_raft::SubmitError;

use super::convert::take_off;
use super::problem::Failure;
use crate::node::peer_calls::{ApiCall, ApiReply, Verdict};
use crate::service::relay::RelayReply;
use crate::service::{ApiHandler, ServiceError};

/// Request headers that are relayed.
const HEADERS: [HeaderName; 5] = [
    HeaderName::from_static(names::IDEMPOTENCY_KEY),
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
];

/// Bytes of a relayed reply reserved for its headers.
const HEADERS_BYTES: usize = 32 * 1024;
/// The body of an answer.
const ANSWER_BYTES_MAX: usize = NODE_ANSWER_BYTES_MAX - HEADERS_BYTES;

/// Marks a request that another node has relayed.
#[derive(Debug, Clone, Copy)]
pub struct Relayed;

/// A call with these parts, for another node.
pub fn call(method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> ApiCall {
    let headers = HEADERS.into_iter().filter_map(|name| {
        let value = headers.get(&name)?;
        Some((name.as_str().to_owned(), value.as_bytes().to_vec()))
    });
    ApiCall {
        method: method.as_str().to_owned(),
        path: path.to_owned(),
        headers: headers.collect(),
        body: body.to_vec(),
    }
}

fn request(call: ApiCall) -> Option<Request> {
    let mut request = Request::builder().method(call.method.as_str()).uri(call.path);
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    request.extension(Relayed).body(Body::from(call.body)).ok()
}

/// The response for the caller of a call that another region has answered.
pub fn response(relayed: RelayReply) -> Response {
    let RelayReply { verdict: _, way, reply } = relayed;
    let ApiReply { status, headers, body } = reply;
    let body = arrived(status, body, way);

    let built = || {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).ok()?;
        for (name, value) in headers {
            response
                .headers_mut()
                .append(name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?);
        }
        Some(response)
    };
    // The reply is not valid HTTP, so the outcome is unknown.
    built().unwrap_or_else(|| {
        Failure::from(ServiceError::from(SubmitError::UnknownOutcome)).into_response()
    })
}

/// A body as it is here: what it says of the time that a lease has left is as old as its way was
/// long.
fn arrived(status: u16, body: Vec<u8>, way: Duration) -> Vec<u8> {
    if status != StatusCode::OK.as_u16() {
        return body;
    }
    match serde_json::from_slice::<Lease>(&body) {
        Ok(mut lease) if lease.expires_in_ms.is_some() => {
            take_off(&mut lease, way);
            serde_json::to_vec(&lease).unwrap_or(body)
        }
        Ok(_) | Err(_) => body,
    }
}

/// Answers relayed calls by the routes that clients call.
#[derive(Debug, Clone)]
pub struct Routes(TowerToHyperService<axum::Router>);

impl Routes {
    pub fn new(router: axum::Router) -> Self {
        Self(TowerToHyperService::new(router))
    }
}

impl ApiHandler for Routes {
    fn handle(&self, call: ApiCall) -> BoxFuture<'static, (Verdict, ApiReply)> {
        let routes = self.0.clone();
        async move {
            let Some(request) = request(call) else {
                return refused(ErrorCode::BadRequest, "The relayed call is no request.");
            };
            // A router cannot fail.
            match routes.call(request).await {
                Ok(response) => reply(response).await,
                Err(never) => match never {},
            }
        }
        .boxed()
    }
}

async fn reply(response: Response) -> (Verdict, ApiReply) {
    let (parts, body) = response.into_parts();
    let verdict = parts.extensions.get::<Verdict>().copied().unwrap_or(Verdict::Done);
    let Ok(body) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else {
        let detail =
            "The page is too large to be passed on from another region: ask with a lower limit.";
        return refused(ErrorCode::BadRequest, detail);
    };

    let own = |name: &HeaderName| *name != header::CONTENT_LENGTH && *name != header::DATE;
    let headers = parts.headers.iter().filter(|(name, _)| own(name));
    let headers =
        headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let reply = ApiReply {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: body.to_bytes().to_vec(),
    };
    (verdict, reply)
}

/// A problem that no handler has answered.
fn refused(code: ErrorCode, detail: &str) -> (Verdict, ApiReply) {
    let problem = Problem::new(code, detail);
    let headers =
        vec![(header::CONTENT_TYPE.as_str().to_owned(), b"application/problem+json".to_vec())];
    // A problem is made of strings and numbers, which always have a JSON form.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    (Verdict::Refused, ApiReply { status: problem.status, headers, body })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::Router;
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_relayed_call_is_answered_by_the_routes() {
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("a")),
            (header::HOST, HeaderValue::from_static("not passed on")),
        ]);
        let looked = async |request: Request| {
            let relayed = request.extensions().get::<Relayed>().is_some();
            format!("{relayed} {}", request.headers().len())
        };
        let routes = Routes::new(Router::new().route("/look", get(looked)));
        let of = |path: &str| routes.handle(call(&Method::GET, path, &headers, b""));

        let (verdict, reply) = of("/look").await;
        assert_eq!((verdict, reply.status, reply.body), (Verdict::Done, 200, b"true 1".to_vec()));
        assert_eq!(of("/nothing").await.1.status, 404);
        assert_eq!(of("no path").await.0, Verdict::Refused);
    }

    #[test]
    fn the_time_left_is_as_old_as_the_way_was_long() {
        let lease = r#"{"id":"a.1","resource":"r","state":"held","expires_in_ms":1000}"#;
        let left = |status| {
            let body = arrived(status, lease.into(), Duration::from_micros(2_500));
            serde_json::from_slice::<Lease>(&body).unwrap().expires_in_ms
        };
        assert_eq!((left(200), left(202)), (Some(997), Some(1000)));
        assert_eq!(arrived(200, b"alive".to_vec(), Duration::from_secs(1)), b"alive");
    }
}
