//! Calls that form a cluster and change its members.

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
    pub async fn adopt(&self, request: &cluster::AdoptRequest) -> Result<cluster::AdoptAnswer, ClientError> {
        self.post("/v1/cluster/adopt", request).await
    }

    /// Forms a group of its first voters. Repeating it does nothing.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn form(&self, request: &cluster::FormRequest) -> Result<(), ClientError> {
        self.post("/v1/cluster/form", request).await
    }

    /// Adds learners. The leader must be asked.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn add_learners(&self, request: &cluster::AddLearnersRequest) -> Result<(), ClientError> {
        self.post("/v1/cluster/learners", request).await
    }

    /// Takes a learner out of a group. The leader must be asked.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn remove_member(&self, request: &cluster::RemoveMemberRequest) -> Result<(), ClientError> {
        self.post("/v1/cluster/remove-member", request).await
    }

    /// Changes the voters. The leader must be asked.
    ///
    /// # Errors
    /// The server's refusal, or that the node did not answer.
    pub async fn change_voters(&self, request: &cluster::ChangeVotersRequest) -> Result<(), ClientError> {
        self.post("/v1/cluster/voters", request).await
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

    async fn post<B: Serialize, A: DeserializeOwned>(&self, path: &str, body: &B) -> Result<A, ClientError> {
        self.call_sharing(Share::OneNode, Method::POST, path, Some(body)).await
    }
}
