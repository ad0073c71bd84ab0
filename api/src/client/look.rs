//! Calls that look at leases and at how resources stand.

use reqwest::Method;

use super::{Client, ClientError};
use crate::lease::{Lease, LeaseState};
use crate::path;
use crate::resource::List;
use crate::watch::ResourceStats;

impl Client {
    /// How a resource stands, as the asked node sees it.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn stats(&self, resource: &str) -> Result<ResourceStats, ClientError> {
        let path = format!("/v1/resources/{}/stats", path::segment(resource));
        self.call::<(), _>(Method::GET, &path, None).await
    }

    /// One page of the leases of a resource: first those that are held, then the queue. Those of
    /// one state when `state` is `Held` or `Waiting`.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn leases(
        &self,
        resource: &str,
        state: Option<LeaseState>,
        limit: u64,
        cursor: Option<&str>,
    ) -> Result<List<Lease>, ClientError> {
        let state = match state {
            Some(LeaseState::Held) => "&state=held",
            Some(LeaseState::Waiting) => "&state=waiting",
            Some(_) | None => "",
        };
        let cursor =
            cursor.map(|cursor| format!("&cursor={}", path::segment(cursor))).unwrap_or_default();
        let path = format!(
            "/v1/resources/{}/leases?limit={limit}{state}{cursor}",
            path::segment(resource)
        );
        self.call::<(), _>(Method::GET, &path, None).await
    }

    /// A lease in whatever state it is. To the server this is a sign of life from its caller.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn lease(&self, id: &str) -> Result<Lease, ClientError> {
        let path = format!("/v1/leases/{}", path::segment(id));
        self.call::<(), _>(Method::GET, &path, None).await
    }
}
