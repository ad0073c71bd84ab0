//! The Rust client: calls that survive the loss of a node.
//!
//! A call carries one idempotency key for its whole life. When a node cannot be reached, or answers that nothing happened,
//! or that it does not know, the same call goes to the next node with the same key, so it can never take effect twice. It
//! ends after a total time. Answers name the leader, and the next call about the same resource, or a lease of the same group,
//! goes there first, in whatever region that is.
//!
//! [`Client::hold`] gives a lease that extends itself for as long as it is held, and is released at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, Problem};
use crate::header;
use crate::lease::{AcquireRequest, ExtendRequest, Lease, LeaseState, ReleaseRequest, Released};
use crate::resource::{List, Resource, ResourceView};

mod cluster;
mod held;
mod nodes;
mod urls;

pub use held::Held;
use nodes::{Nodes, group_subject, subject_of};

/// The first pause before a call is repeated; it doubles, and is spread by chance.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause before a call is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long one try may take beyond the time that the server holds the call open.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a waiting call goes on beyond its own wait.
const WAIT_GRACE: Duration = Duration::from_secs(15);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No node answered in time.
    #[error("no node answered: {0}. Is one running at {1}?")]
    Unreachable(String, String),
    /// A node answered something that is not RateQueue's.
    #[error("{0} does not answer like a RateQueue node: {1}")]
    Foreign(String, String),
    /// The client was set up wrongly.
    #[error("{0}")]
    Configuration(String),
}

impl ClientError {
    /// The server's error code, if it was the server's error.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            Self::Unreachable(..) | Self::Foreign(..) | Self::Configuration(_) => None,
        }
    }
}

/// A client of one cluster. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    nodes: Arc<Nodes>,
    api_key: Option<String>,
    patience: Duration,
}

/// One call, as it is sent each time.
#[derive(Debug)]
struct Call<'a> {
    method: Method,
    path: &'a str,
    /// What it is about.
    subject: Option<String>,
    key: &'a str,
    headers: &'a [(&'static str, String)],
    body: Option<Vec<u8>>,
    timeout: Duration,
}

/// What one try came to.
enum Tried {
    Answer(StatusCode, Vec<u8>),
    Again(ClientError),
}

impl Client {
    /// A client for the nodes at these URLs, separated by commas. Calls give up after `patience`, waits not counted.
    ///
    /// # Errors
    /// [`ClientError::Configuration`] when a URL cannot lead to a node: it is none, asks for TLS, or has more in it than a
    /// host and a port.
    pub fn new(urls: &str, api_key: Option<String>, patience: Duration) -> Result<Self, ClientError> {
        let urls = urls::parse(urls)?;
        // A proxy of the environment is for the web, and would get between a worker and its nodes.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .build()
            .map_err(|error| ClientError::Configuration(error.to_string()))?;
        Ok(Self { http, nodes: Arc::new(Nodes::new(urls)), api_key, patience })
    }

    /// An idempotency key that nobody else has.
    #[must_use]
    pub fn new_key() -> String {
        format!("{:032x}", rand::rng().random::<u128>())
    }

    /// Acquires, and waits in line as long as the request says: across calls, and across the loss of nodes. `on_wait` is
    /// told each time that the lease is still in line.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn acquire(
        &self,
        resource: &str,
        request: &AcquireRequest,
        key: &str,
        mut on_wait: impl FnMut(&Lease),
    ) -> Result<Lease, ClientError> {
        let path = format!("/v1/resources/{resource}/acquire");
        let give_up = Instant::now() + Duration::from_millis(request.wait_ms) + WAIT_GRACE;
        // The first call is not held open, so that a caller that must wait learns its place at once.
        let mut call = AcquireRequest { hold_ms: 0, ..request.clone() };
        loop {
            let hold = Duration::from_millis(call.hold_ms);
            let lease: Lease = self.call(Method::POST, &path, key, &[], Some(&call), hold).await?;
            if let (Some(subject), Some((group, _))) = (subject_of(&path), lease.id.rsplit_once('.')) {
                self.nodes.prefer(&group_subject(group), &self.nodes.first(Some(&subject)));
            }
            if lease.state != LeaseState::Waiting || Instant::now() > give_up {
                return Ok(lease);
            }
            on_wait(&lease);
            call.hold_ms = request.hold_ms;
        }
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn release(&self, lease: &str, request: &ReleaseRequest) -> Result<Released, ClientError> {
        let path = format!("/v1/leases/{lease}/release");
        self.call(Method::POST, &path, &Self::new_key(), &[], Some(request), Duration::ZERO).await
    }

    /// Gives a held lease a new deadline.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn extend(&self, lease: &str, request: &ExtendRequest) -> Result<Lease, ClientError> {
        let path = format!("/v1/leases/{lease}/extend");
        self.call(Method::POST, &path, &Self::new_key(), &[], Some(request), Duration::ZERO).await
    }

    /// Creates or replaces a resource.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn put_resource(&self, name: &str, resource: &Resource) -> Result<ResourceView, ClientError> {
        let path = format!("/v1/resources/{name}");
        self.call(Method::PUT, &path, &Self::new_key(), &[], Some(resource), Duration::ZERO).await
    }

    /// A resource, or `None` when there is none of this name.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn resource(&self, name: &str) -> Result<Option<ResourceView>, ClientError> {
        let path = format!("/v1/resources/{name}");
        let answer = self.call::<(), _>(Method::GET, &path, &Self::new_key(), &[], None, Duration::ZERO).await;
        match answer {
            Ok(view) => Ok(Some(view)),
            Err(error) if error.code() == Some(ErrorCode::ResourceNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One page of the resources, in name order.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn resources(&self, limit: u64, cursor: Option<&str>) -> Result<List<ResourceView>, ClientError> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("/v1/resources?limit={limit}{cursor}");
        self.call::<(), _>(Method::GET, &path, &Self::new_key(), &[], None, Duration::ZERO).await
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn delete_resource(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/resources/{name}");
        self.call::<(), ()>(Method::DELETE, &path, &Self::new_key(), &[], None, Duration::ZERO).await
    }

    async fn post<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, ClientError> {
        self.call(Method::POST, path, &Self::new_key(), &[], Some(body), Duration::ZERO).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        key: &str,
        headers: &[(&'static str, String)],
        body: Option<&B>,
        hold: Duration,
    ) -> Result<A, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ClientError::Configuration(error.to_string()))?;
        let subject = subject_of(path);
        let call = Call { method, path, subject, key, headers, body, timeout: hold + TRY_TIMEOUT };
        let (status, text) = self.tries(&call, Instant::now() + hold + self.patience).await?;
        // An answer without a body stands for the unit type.
        let text: &[u8] = if status == StatusCode::NO_CONTENT { b"null" } else { &text };
        serde_json::from_slice(text).map_err(|error| ClientError::Foreign(self.nodes.all(), error.to_string()))
    }

    /// Tries one node after the other until one answers for good, or the time is up.
    async fn tries(&self, call: &Call<'_>, deadline: Instant) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut pause = PAUSE_MIN;
        loop {
            let url = self.nodes.first(call.subject.as_deref());
            let error = match self.send(call, &url).await? {
                Tried::Answer(status, text) => return Ok((status, text)),
                Tried::Again(error) => error,
            };
            match &error {
                ClientError::Unreachable(..) => self.nodes.silent(&url),
                ClientError::Problem(_) | ClientError::Foreign(..) | ClientError::Configuration(_) => {
                    self.nodes.move_on(call.subject.as_deref(), &url);
                }
            }
            let spread = pause.mul_f64(rand::rng().random_range(0.5..1.5));
            if Instant::now() + spread >= deadline {
                return Err(error);
            }
            tokio::time::sleep(spread).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn send(&self, call: &Call<'_>, url: &str) -> Result<Tried, ClientError> {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{url}{}", call.path))
            .timeout(call.timeout)
            .header(header::IDEMPOTENCY_KEY, call.key);
        if let Some(api_key) = &self.api_key {
            request = request.bearer_auth(api_key);
        }
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let unreachable = |error: reqwest::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Tried::Again(ClientError::Unreachable(why, url.to_owned()))
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(unreachable(error)),
        };
        let leader = answer.headers().get(header::LEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        let text = match answer.bytes().await {
            Ok(text) => text.to_vec(),
            Err(error) => return Ok(unreachable(error)),
        };
        if let (Some(leader), Some(subject)) = (leader, &call.subject) {
            self.nodes.prefer(subject, &leader);
        }
        if status.is_success() {
            return Ok(Tried::Answer(status, text));
        }
        let problem: Problem = serde_json::from_slice(&text)
            .map_err(|_| ClientError::Foreign(url.to_owned(), format!("status {status}")))?;
        let again = matches!(problem.code, ErrorCode::NoQuorum | ErrorCode::UnknownOutcome | ErrorCode::ShuttingDown);
        let error = ClientError::Problem(Box::new(problem));
        if again { Ok(Tried::Again(error)) } else { Err(error) }
    }
}
