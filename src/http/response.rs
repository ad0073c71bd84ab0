//! What responses are made of.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::header as names;
use ratequeue_raft::Group;
use serde::Serialize;

/// Marks a response with the group that decided it: its leader is named.
#[derive(Debug, Clone)]
pub struct DecidedBy(pub Group);

/// A JSON response.
pub fn json_response(body: &impl Serialize) -> Response {
    // Wire types are made of strings and numbers, which always have a JSON form.
    let text = serde_json::to_vec(body).unwrap_or_default();
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// Says at which log index it was decided.
pub fn log_index(headers: &mut HeaderMap, index: u64) {
    headers.insert(HeaderName::from_static(names::LOG_INDEX), HeaderValue::from(index));
}
