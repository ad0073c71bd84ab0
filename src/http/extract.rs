//! What handlers take from a request, checked: names, keys, bodies, queries.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use ratequeue_api::caps::BODY_BYTES_MAX;
use ratequeue_api::object::Object;
use ratequeue_api::{ErrorCode, header as names};
use ratequeue_limiter::{Condition, LeaseId, RequestId, ResourceName};
use serde::de::DeserializeOwned;

use super::problem::Failure;
use super::relayed::{self, Relayed};
use crate::node::peer_calls::ApiCall;
use crate::service::Incoming;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The id of the request: the caller's `Idempotency-Key`, or one made up for it.
#[derive(Debug, Clone)]
pub struct RequestKey(pub RequestId);

impl RequestKey {
    /// The key in the headers, or one that is made up when there is none.
    ///
    /// # Errors
    /// When there are several, or the one that is there is malformed.
    pub fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut given = headers.get_all(names::IDEMPOTENCY_KEY).iter();
        let text = match (given.next(), given.next()) {
            (None, _) => Self::random_text(),
            (Some(value), None) => value.to_str().unwrap_or_default().to_owned(),
            (Some(_), Some(_)) => {
                return Err(Failure::bad_request("Idempotency-Key must be there once."));
            }
        };

        let bad = |bad| Failure::bad_request(format!("Idempotency-Key: {bad}."));
        RequestId::new(&text).map(Self).map_err(bad)
    }

    /// The text of a key that nobody else has.
    pub fn random_text() -> String {
        format!("made-{:032x}", rand::random::<u128>())
    }
}

impl<S: Sync> FromRequestParts<S> for RequestKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Made by the outermost layer, so that the answer can name it.
        match parts.extensions.get::<Self>() {
            Some(key) => Ok(key.clone()),
            None => Self::of(&parts.headers),
        }
    }
}

/// The resource that the path names.
#[derive(Debug)]
pub struct ResourcePath(pub ResourceName);

impl<S: Send + Sync> FromRequestParts<S> for ResourcePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Failure::bad_request("The name in the path is not valid UTF-8."))?;
        ResourceName::new(&text).map(Self).map_err(|bad| Failure::bad_request(format!("{bad}.")))
    }
}

/// The lease that the path names: its group and its id there.
#[derive(Debug)]
pub struct LeasePath {
    pub group: String,
    pub id: LeaseId,
}

impl<S: Send + Sync> FromRequestParts<S> for LeasePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text);
        let (group, id) = text
            .ok()
            .and_then(|text| {
                text.rsplit_once('.').map(|(group, id)| (group.to_owned(), id.parse()))
            })
            .ok_or_else(Failure::lease_not_found)?;
        Ok(Self { group, id: id.map_err(|_| Failure::lease_not_found())? })
    }
}

/// A JSON body; an empty one counts as `{}`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        // First of all: who is answered in the middle of sending may not get to see the answer.
        let text = read(body).await?;
        Self::of(&parts.headers, &text)
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// The body of a request whose headers are known too.
    ///
    /// # Errors
    /// When it says that it is no JSON, or is none, or not of this type.
    pub fn of(headers: &HeaderMap, text: &[u8]) -> Result<Self, Failure> {
        check_content_type(headers)?;
        Self::parse(text)
    }

    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let text: &[u8] = if text.is_empty() { b"{}" } else { text };
        let mut reader = serde_json::Deserializer::from_slice(text);
        let Object(value) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let at = if path == "." { String::new() } else { format!("{path}: ") };
            Failure::bad_request(format!("{at}{}", error.inner()))
        })?;
        reader.end().map_err(|error| Failure::bad_request(error.to_string()))?;
        Ok(Self(value))
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    let detail = format!(
        "The Content-Type is {text:?}: send application/json (curl: --json instead of -d)."
    );
    Err(Failure::new(ErrorCode::UnsupportedMediaType, detail))
}

/// A request that can be handled, or relayed, more than once.
#[derive(Debug, Clone)]
pub struct BufferedRequest {
    parts: Parts,
    body: Bytes,
}

impl<S: Sync> FromRequest<S> for BufferedRequest {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        Ok(Self { parts, body: read(body).await?.into() })
    }
}

impl BufferedRequest {
    /// Its body; an empty one counts as `{}`.
    ///
    /// # Errors
    /// When it says that it is no JSON, or is none, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Json::of(&self.parts.headers, &self.body).map(|Json(value)| value)
    }

    /// What the service has to know of it.
    pub fn into_incoming(self) -> Incoming {
        Incoming {
            can_return: self.parts.headers.contains_key(names::IDEMPOTENCY_KEY),
            is_relayed: self.parts.extensions.get::<Relayed>().is_some(),
            to_bytes: Arc::new(move || self.to_call()),
        }
    }

    /// The same call for another node, with the key that was made up for it if its caller gave
    /// none.
    fn to_call(&self) -> ApiCall {
        let mut headers = self.parts.headers.clone();
        let key =
            self.parts.extensions.get::<RequestKey>().and_then(|key| key.0.as_str().parse().ok());
        key.map(|key| headers.insert(names::IDEMPOTENCY_KEY, key));
        let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        relayed::call(&self.parts.method, path, &headers, &self.body)
    }
}

/// The whole body of a request. One that is too large is refused as soon as that is known: by its
/// announced length, or by what has come.
///
/// # Errors
/// When it is too large, or does not arrive in time.
pub async fn read(mut body: Body) -> Result<Vec<u8>, Failure> {
    let too_large = || {
        Failure::new(ErrorCode::BodyTooLarge, format!("The body is over {BODY_BYTES_MAX} bytes."))
    };
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }

    match tokio::time::timeout(BODY_TIMEOUT, collect(&mut body)).await {
        Ok(Ok(Some(text))) => Ok(text),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => {
            Err(Failure::bad_request(format!("The body could not be read: {error}.")))
        }
        Err(_) => Err(Failure::bad_request("The body did not arrive within 10 s.")),
    }
}

/// Collects a body of up to [`BODY_BYTES_MAX`]; gives nothing when it has more.
async fn collect(body: &mut Body) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is no data are trailers.
        let Ok(data) = frame?.into_data() else { continue };
        if text.len() + data.len() > BODY_BYTES_MAX {
            return Ok(None);
        }
        text.extend_from_slice(&data);
    }
    Ok(Some(text))
}

/// The parameters of a query; one that is not known is an error.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Failure::bad_request(format!("{}.", rejection.body_text()))),
        }
    }
}

/// Which version of a resource a change is meant for: `If-Match` and `If-None-Match`.
#[derive(Debug)]
pub struct Precondition(pub Condition);

impl<S: Sync> FromRequestParts<S> for Precondition {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let text = |name| {
            let mut given = parts.headers.get_all(&name).iter();
            match (given.next(), given.next()) {
                (Some(_), Some(_)) => {
                    Err(Failure::bad_request(format!("{name}: only one may be there.")))
                }
                (given, _) => Ok(given.map(|value| value.to_str().unwrap_or_default().trim())),
            }
        };

        match (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?) {
            (None, None) => Ok(Self(Condition::Any)),
            (None, Some("*")) => Ok(Self(Condition::Absent)),
            (None, Some(_)) => Err(Failure::bad_request("If-None-Match must be *.")),
            (Some("*"), None) => Ok(Self(Condition::Present)),
            (Some(tag), None) => {
                let version = tag
                    .strip_prefix('"')
                    .and_then(|tag| tag.strip_suffix('"'))
                    .and_then(|n| n.parse().ok());
                let detail = "If-Match must be an ETag of the resource, like \"7\", or *.";
                version
                    .map(|version| Self(Condition::Version(version)))
                    .ok_or_else(|| Failure::bad_request(detail))
            }
            (Some(_), Some(_)) => {
                Err(Failure::bad_request("Use If-Match or If-None-Match, not both."))
            }
        }
    }
}
