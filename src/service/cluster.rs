//! The cluster: how it stands, forming it, and changing its members.

use std::sync::Arc;
use std::time::Duration;

use ratequeue_api::cluster::{
    AdoptAnswer, AdoptRequest, ChangeAnswer, ChangeRequest, ClusterView, NodeReport, NodeView,
    NodesView,
};
use ratequeue_limiter::ResourceName;
use ratequeue_raft::caps::MEMBERS_MAX;
use ratequeue_raft::{Group, NodeId};

use super::Service;
use super::error::{Cause, ServiceError};
use super::resources::exists_in;
use crate::config::check_view;
use crate::node::NotJoined;
use crate::ops;

/// How long a node may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

impl Service {
    /// The cluster as this node sees it.
    pub async fn cluster(&self) -> ClusterView {
        ops::view::of(&self.node).await
    }

    /// What this node says of itself.
    pub async fn report(&self) -> NodeReport {
        // Whoever asks does not wait until it is sure that there is no quorum.
        let ready = tokio::time::timeout(READY_WITHIN, self.ready()).await;
        ops::view::report(&self.node, ready.is_ok_and(|ready| ready.is_ok())).await
    }

    /// All nodes of the cluster, and what each says of itself.
    pub async fn nodes(&self) -> NodesView {
        ops::view::nodes(&self.node, self.report().await).await
    }

    /// Makes an empty node part of a cluster; says of which it is part, if it was part of one
    /// already, and which of the nodes that it is to look for do not answer it.
    ///
    /// # Errors
    /// When it is meant for another node, or does not fit this one.
    pub async fn adopt(&self, request: AdoptRequest) -> Result<AdoptAnswer, ServiceError> {
        self.check_adoption(&request)?;
        // On its own, so that it is not left half done when the caller hangs up.
        let AdoptRequest { cluster_id, founding, reach, .. } = request;
        let node = Arc::clone(&self.node);
        let adopting = tokio::spawn(async move {
            ops::founding::adopt(&node, &cluster_id, founding.as_ref()).await
        });
        let cluster_id = adopting.await.map_err(|_ended| Cause::ShuttingDown)??;

        let unreached = self.node.joined_member()?.regions.unreached(self.node_id(), &reach).await;
        Ok(AdoptAnswer { cluster_id, unreached })
    }

    fn check_adoption(&self, request: &AdoptRequest) -> Result<(), ServiceError> {
        let refuse = |text: String| Err(Cause::NotForThisNode(text).into());
        let (cluster, id, own) =
            (&self.node.options.cluster.name, self.node_id(), &self.node.options.region);
        if request.name != *cluster || request.node != id {
            let (node, name) = (request.node, &request.name);
            return refuse(format!(
                "This is node {id} of cluster {cluster}, not node {node} of {name}."
            ));
        }
        if request.cluster_id.len() != 32
            || !request.cluster_id.bytes().all(|c| c.is_ascii_hexdigit())
        {
            return refuse("cluster_id must be 32 hexadecimal digits.".to_owned());
        }
        if request.reach.len() > MEMBERS_MAX {
            return refuse(format!("reach: a cluster has at most {MEMBERS_MAX} nodes."));
        }

        let founders = request.founding.iter().flat_map(|founding| &founding.nodes);
        request.reach.iter().chain(founders).try_for_each(check_node)?;
        if request.region != *own {
            let region = &request.region;
            return refuse(format!(
                "Node {id} was started with a file in which it is in region {own}, not {region}: give all nodes the same file."
            ));
        }
        Ok(())
    }

    /// Requests a change of members and returns its progress. Idempotent. On the leader of the
    /// global group.
    ///
    /// # Errors
    /// Why it is not made.
    pub async fn change_members(
        &self,
        request: ChangeRequest,
    ) -> Result<ChangeAnswer, ServiceError> {
        match &request {
            ChangeRequest::Add { node }
            | ChangeRequest::Replace { with: node, .. }
            | ChangeRequest::Move { node } => {
                check_node(node)?;
            }
            ChangeRequest::Remove { .. } | ChangeRequest::Rebalance {} => {}
        }

        // On its own, so that what was checked is recorded also when the caller hangs up.
        let node = Arc::clone(&self.node);
        let admitting = tokio::spawn(async move {
            Ok::<_, NotJoined>(ops::admit(&node, node.joined_member()?, &request).await)
        });
        Ok(admitting.await.map_err(|_ended| Cause::ShuttingDown)???)
    }

    /// Hands the leadership of a group over; says who leads now. On the leader.
    ///
    /// # Errors
    /// When this node does not lead the group, or it is not taken.
    pub async fn transfer_leader(
        &self,
        group: &str,
        to: Option<NodeId>,
    ) -> Result<NodeId, ServiceError> {
        let member = self.node.joined_member()?;
        let found = member.group_of(group).ok_or_else(|| {
            let here = member.groups().map(Group::name).join(" and ");
            Cause::NotForThisNode(format!("This node is in the groups {here}, not in {group}."))
        })?;
        Ok(found.hand_over(to).await?)
    }

    /// Gives the name of a resource back that was claimed for a group of this node, unless the
    /// resource exists there. Nodes ask this of each other, before they create it elsewhere.
    ///
    /// # Errors
    /// When the groups cannot be asked.
    pub async fn give_back(&self, name: &ResourceName) -> Result<(), ServiceError> {
        Ok(self.node.joined_member()?.give_back(name).await?)
    }

    /// Whether a resource exists in the group of this node's region.
    ///
    /// # Errors
    /// When the group cannot be asked.
    pub async fn exists(&self, name: &ResourceName) -> Result<bool, ServiceError> {
        Ok(exists_in(&self.node.joined_member()?.region, name).await?)
    }
}

/// Refuses a node that nobody could reach at its addresses.
fn check_node(node: &NodeView) -> Result<(), ServiceError> {
    check_view(node).map_err(|why| ServiceError::invalid_node(node, why))
}
