//! Looks at other nodes, over the peer link.

use std::time::Duration;

use futures::future::join_all;
use ratequeue_api::cluster::{ClusterView, GroupView, NodeView, Role};

use super::book::AddressBook;
use super::view;
use crate::node::Node;
use crate::node::peer_calls::{PeerAnswer, PeerCall, PeerError};

/// How long a node may take to say how it stands.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a node says of itself and its groups.
///
/// # Errors
/// Why it does not say anything.
pub async fn ask(node: &Node, of: &NodeView) -> Result<ClusterView, PeerError> {
    if of.id == node.options.id {
        return Ok(view::of(node).await);
    }
    let regions = node.member().map(|member| &member.regions).ok_or(PeerError::NotJoined)?;
    let answer = regions.call_node(of, &PeerCall::View, ANSWER_WITHIN).await?;
    let PeerAnswer::View(view) = answer else { return Err(PeerError::Failed) };
    Ok(view)
}

/// What these nodes say, all asked at once.
pub async fn ask_all<'a>(
    node: &Node,
    of: impl IntoIterator<Item = &'a NodeView>,
) -> Vec<(NodeView, Result<ClusterView, PeerError>)> {
    join_all(of.into_iter().map(async |of| (of.clone(), ask(node, of).await))).await
}

/// How a region stands, as its nodes say.
pub struct RegionReport {
    pub nodes: Vec<(NodeView, Result<ClusterView, PeerError>)>,
    pub region: String,
}

impl RegionReport {
    /// The region's nodes that are in the book, all asked.
    pub async fn of(node: &Node, book: &AddressBook, region: &str) -> Self {
        let nodes = ask_all(node, book.nodes().filter(|of| of.region == region)).await;
        Self { nodes, region: region.to_owned() }
    }

    /// No node of it answers.
    pub fn is_lost(&self) -> bool {
        self.nodes.iter().all(|(_, view)| view.is_err())
    }

    /// The group of the region, as its leader sees it.
    pub fn group(&self) -> Option<&GroupView> {
        let groups =
            self.nodes.iter().filter_map(|(_, view)| view.as_ref().ok()?.groups.get(&self.region));
        groups
            .filter(|group| group.role == Role::Leader && group.leader.is_some())
            .max_by_key(|group| group.term)
    }

    /// None of its nodes that answer has a group of the region with voters.
    pub fn is_unformed(&self) -> bool {
        let views = self.nodes.iter().filter_map(|(_, view)| view.as_ref().ok());
        views.filter_map(|view| view.groups.get(&self.region)).all(|group| group.voters.is_empty())
    }

    /// What the leader of the region says that a change waits for.
    pub fn progress(&self) -> Option<String> {
        let leads = |view: &&ClusterView| {
            view.groups.get(&self.region).is_some_and(|group| group.role == Role::Leader)
        };
        let mut views = self.nodes.iter().filter_map(|(_, view)| view.as_ref().ok()).filter(leads);
        views.find_map(|view| view.changes.iter().find_map(|change| change.progress.clone()))
    }

    /// The nodes that answer and know a leader of this group.
    pub fn healthy(&self, group: &str) -> impl Iterator<Item = u64> {
        let knows =
            |view: &ClusterView| view.groups.get(group).is_some_and(|group| group.leader.is_some());
        let healthy = self.nodes.iter().filter(move |(_, view)| view.as_ref().is_ok_and(knows));
        healthy.map(|(node, _)| node.id)
    }
}
