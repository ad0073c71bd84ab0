//! Calls that show a cluster and change its members.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::Share;
use super::{Client, ClientError};
use crate::cluster;

impl Client {
    /// The cluster as one of its nodes sees it.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn cluster(&self) -> Result<cluster::ClusterView, ClientError> {
        self.call_sharing::<(), _>(Share::OneNode, Method::GET, "/v1/cluster", None).await
    }

    /// Makes an empty node part of a cluster, and says of which cluster it is part now.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn adopt(
        &self,
        request: &cluster::AdoptRequest,
    ) -> Result<cluster::AdoptAnswer, ClientError> {
        self.post("/v1/cluster/adopt", request).await
    }

    /// Asks for a change of members, and how far it is. The leader of the global group must be
    /// asked. Repeating it changes nothing.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn change_members(
        &self,
        request: &cluster::ChangeRequest,
    ) -> Result<cluster::ChangeAnswer, ClientError> {
        self.post("/v1/cluster/changes", request).await
    }

    /// Hands leadership over. The leader must be asked.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn transfer_leader(
        &self,
        request: &cluster::TransferLeaderRequest,
    ) -> Result<cluster::TransferLeaderAnswer, ClientError> {
        self.post("/v1/cluster/transfer-leader", request).await
    }

    async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.call_sharing(Share::OneNode, Method::POST, path, Some(body)).await
    }
}
