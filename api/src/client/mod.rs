//! The Rust client: calls that survive the loss of a node.
//!
//! # Model
//! A call carries one idempotency key for its whole life. When a node cannot be reached, does not
//! answer, or answers with what may pass, the same call goes to the next node with the same key, so
//! it can never take effect twice. No attempt takes all of the time that a call has; and once one
//! may have had an effect, the call may have. Answers name the leader, and the next call about the
//! same resource, or a lease of the same group, goes there first, in whatever region that is.
//!
//! [`Client::hold`] gives a lease that extends itself for as long as it is held, and is released at
//! the end. An [`Acquisition`] is the same in steps, for a caller that may be interrupted: it gives
//! up whatever it may have got.
//!
//! ```text
//!   acquire.rs   from the first call to a held lease, or to one that is given up
//!   held.rs      a lease that extends itself
//!   look.rs      calls that look at leases and at how resources stand
//!   events.rs    events as they happen
//!   cluster.rs   calls that form a cluster and change its members
//!   retry.rs     after which failures a call is repeated, where, and how soon
//!   attempt.rs   one call to one node
//!   nodes.rs     which node is asked first about what
//!   urls.rs      the URLs of nodes, checked
//!   error.rs     why a call failed
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ErrorCode;
use crate::lease::{AcquireRequest, ExtendRequest, Lease, ReleaseRequest, Released};
use crate::path;
use crate::resource::{List, Resource, ResourceView};

mod acquire;
mod attempt;
mod cluster;
mod error;
mod events;
mod held;
mod look;
mod nodes;
mod retry;
mod urls;

pub use acquire::Acquisition;
use attempt::{Call, Share};
pub use error::{ClientError, Unavailable};
pub use events::{EventMessage, EventReader, EventsRequest};
pub use held::Held;
use nodes::Nodes;
use retry::Tries;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of one cluster. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    nodes: Arc<Nodes>,
    api_key: Option<String>,
    patience: Duration,
    /// How long a call goes on that reaches no node at all, and how long it waits for one node
    /// while there is another.
    haste: Option<Duration>,
}

impl Client {
    /// A client for the nodes at these URLs, separated by commas. Calls give up after `patience`,
    /// waits not counted.
    ///
    /// # Errors
    /// [`ClientError::Configuration`] when a URL cannot lead to a node: it is none, asks for TLS,
    /// or has more in it than a host and a port.
    pub fn new(
        urls: &str,
        api_key: Option<String>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let urls = urls::parse(urls)?;
        let http = http(CONNECT_TIMEOUT)?;
        Ok(Self { http, nodes: Arc::new(Nodes::new(urls)), api_key, patience, haste: None })
    }

    /// The URLs of its nodes, each by itself.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        self.nodes.urls()
    }

    /// The same client for somebody who waits at a terminal: a dead node costs a call no more than
    /// `haste`, whether it is one of several or the only one. What is held or in the queue is
    /// not given up any sooner for it.
    ///
    /// # Errors
    /// As for [`Client::new`].
    pub fn hasty(self, haste: Duration) -> Result<Self, ClientError> {
        Ok(Self { http: http(haste.min(CONNECT_TIMEOUT))?, haste: Some(haste), ..self })
    }

    /// An idempotency key that nobody else has.
    #[must_use]
    pub fn new_key() -> String {
        format!("{:032x}", rand::rng().random::<u128>())
    }

    /// Acquires, and waits in the queue as long as the request says: across calls, and across the
    /// loss of nodes. The lease is held; whatever it may have got otherwise is given up, also
    /// when the future is dropped. `on_wait` is told each time that the lease is still in the
    /// queue. A request with `hold_ms` 0 asks again as [`Acquisition::hold`] says.
    ///
    /// # Errors
    /// The server's refusal, that the wait ran out, or that no node answered.
    pub async fn acquire(
        &self,
        resource: &str,
        request: &AcquireRequest,
        key: &str,
        on_wait: impl FnMut(&Lease),
    ) -> Result<Lease, ClientError> {
        self.acquisition(resource, request, key).finish(on_wait).await
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn release(
        &self,
        lease: &str,
        request: &ReleaseRequest,
    ) -> Result<Released, ClientError> {
        self.release_within(self.patience, lease, request).await
    }

    /// Gives a held lease a new deadline.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn extend(&self, lease: &str, request: &ExtendRequest) -> Result<Lease, ClientError> {
        self.extend_within(self.patience, lease, request).await.map(|(lease, _)| lease)
    }

    /// Creates or replaces a resource.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn put_resource(
        &self,
        name: &str,
        resource: &Resource,
    ) -> Result<ResourceView, ClientError> {
        let path = format!("/v1/resources/{}", path::segment(name));
        self.call(Method::PUT, &path, Some(resource)).await
    }

    /// A resource, or `None` when there is none of this name.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn resource(&self, name: &str) -> Result<Option<ResourceView>, ClientError> {
        let path = format!("/v1/resources/{}", path::segment(name));
        let answer = self.call::<(), _>(Method::GET, &path, None).await;
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
    pub async fn resources(
        &self,
        limit: u64,
        cursor: Option<&str>,
    ) -> Result<List<ResourceView>, ClientError> {
        let cursor =
            cursor.map(|cursor| format!("&cursor={}", path::segment(cursor))).unwrap_or_default();
        let path = format!("/v1/resources?limit={limit}{cursor}");
        self.call::<(), _>(Method::GET, &path, None).await
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn delete_resource(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/resources/{}", path::segment(name));
        self.call::<(), ()>(Method::DELETE, &path, None).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, ClientError> {
        self.call_sharing(Share::Half, method, path, body).await
    }

    async fn call_sharing<B: Serialize, A: DeserializeOwned>(
        &self,
        share: Share,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<A, ClientError> {
        let key = Self::new_key();
        let call = Call::new(method, path, &key, body, share)?;
        self.tries(&call, self.first_tries(Duration::ZERO)).await?.read()
    }

    /// The attempts of a call before which nothing was got, and which may wait so long for a node
    /// to come back.
    fn first_tries(&self, wait: Duration) -> Tries {
        let now = Instant::now();
        let tries = Tries::new(now + self.patience);
        match self.haste {
            Some(haste) => {
                tries.hasty(haste, now + haste.max(wait.min(self.patience)), self.nodes.len())
            }
            None => tries,
        }
    }

    async fn release_within(
        &self,
        budget: Duration,
        lease: &str,
        request: &ReleaseRequest,
    ) -> Result<Released, ClientError> {
        let (path, key) = (format!("/v1/leases/{}/release", path::segment(lease)), Self::new_key());
        let call = Call::new(Method::POST, &path, &key, Some(request), Share::Half)?;
        self.tries(&call, Tries::new(Instant::now() + budget)).await?.read()
    }

    /// Extends a lease; gives also when the attempt was sent that was answered.
    async fn extend_within(
        &self,
        budget: Duration,
        lease: &str,
        request: &ExtendRequest,
    ) -> Result<(Lease, Instant), ClientError> {
        let (path, key) = (format!("/v1/leases/{}/extend", path::segment(lease)), Self::new_key());
        let call = Call::new(Method::POST, &path, &key, Some(request), Share::Third)?;
        let answer = self.tries(&call, Tries::new(Instant::now() + budget)).await?;
        Ok((answer.read()?, answer.sent))
    }
}

fn http(connect_timeout: Duration) -> Result<reqwest::Client, ClientError> {
    // A proxy of the environment is for the web, and would get between a worker and its nodes.
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let http = builder.connect_timeout(connect_timeout).build();
    http.map_err(|error| ClientError::Configuration(error.to_string()))
}
