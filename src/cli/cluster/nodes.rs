//! The nodes of a cluster, asked all at once.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::future::join_all;
use ratequeue_api::ErrorCode;
use ratequeue_api::client::{Client, ClientError, Unavailable};
use ratequeue_api::cluster::{ClusterView, GroupView, NodeView, Role};

use super::{LEADER_WITHIN, LOOK_PAUSE, NODE_PATIENCE};
use crate::cli::exit::{Exit, Failed};
use crate::cli::{DEAD_AFTER, failed};
use crate::config::GLOBAL;

/// What says which nodes there are, when it is a file.
pub const FILE: &str = "the file";

/// The nodes of a cluster.
#[derive(Debug)]
pub struct Nodes {
    /// In the order of their ids.
    nodes: Vec<NodeView>,
    api_key: Option<String>,
    /// What says that there are these: [`FILE`], or the cluster itself.
    source: &'static str,
}

/// Why a node says nothing of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// It could not be asked.
    #[error("{0}")]
    NoClient(String),
    /// It decided nothing in time.
    #[error("{}", .0.why())]
    Unavailable(Unavailable),
    /// It answered something else.
    #[error(transparent)]
    Call(ClientError),
    /// It did not answer in time.
    #[error("no answer in {} s", DEAD_AFTER.as_secs())]
    Late,
}

/// A node, and what it answered.
#[derive(Debug)]
pub struct NodeReport {
    pub node: NodeView,
    pub client: Client,
    /// What it says of itself; why it does not answer otherwise.
    pub view: Result<ClusterView, Silence>,
}

impl NodeReport {
    /// A group, as this node sees it; nothing when it is not in it.
    pub fn group(&self, name: &str) -> Option<&GroupView> {
        self.view.as_ref().ok()?.groups.get(name)
    }

    /// The group of its region.
    pub fn own_group(&self) -> Option<&GroupView> {
        self.group(&self.node.region)
    }

    /// Whether a group is formed, as far as it knows.
    pub fn has_voters(&self, group: &str) -> bool {
        self.group(group).is_some_and(|group| !group.voters.is_empty())
    }

    /// Whether it knows a node as a member of one of its groups.
    pub fn knows(&self, id: u64) -> bool {
        let groups = self.view.iter().flat_map(|view| view.groups.values());
        groups.into_iter().any(|group| group.voters.contains(&id) || group.learners.contains(&id))
    }

    /// Whether it leads a group, and a majority follows.
    pub fn leads(&self, group: &str) -> bool {
        self.group(group)
            .is_some_and(|group| group.role == Role::Leader && group.leader == Some(self.node.id))
    }

    /// The cluster it is part of, if any.
    pub fn cluster_id(&self) -> Option<&str> {
        self.view.as_ref().ok()?.cluster_id.as_deref()
    }
}

/// Whether a group is formed, as far as those who were asked know.
pub fn is_formed(asked: &[NodeReport], group: &str) -> bool {
    asked.iter().any(|asked| asked.has_voters(group))
}

impl Nodes {
    pub fn new(
        nodes: impl IntoIterator<Item = NodeView>,
        api_key: Option<String>,
        source: &'static str,
    ) -> Self {
        let mut nodes: Vec<NodeView> = nodes.into_iter().collect();
        nodes.sort_by_key(|node| node.id);
        Self { nodes, api_key, source }
    }

    /// The regions that they are in, in the order of their names.
    pub fn regions(&self) -> BTreeSet<&str> {
        self.nodes.iter().map(|node| node.region.as_str()).collect()
    }

    /// Asks every node, all at once; gives them in the order of their ids. A dead one costs a
    /// second.
    pub async fn ask(&self) -> Result<Vec<NodeReport>, Failed> {
        let mut asking = Vec::new();
        for node in self.nodes.iter().cloned() {
            let client = client_of(&node.http, self.api_key.clone())?;
            asking.push(async move {
                let view = look(&client).await;
                NodeReport { node, client, view }
            });
        }
        Ok(join_all(asking).await)
    }

    /// The leader of a group, waited for while there is none.
    pub async fn leader(&self, group: &str) -> Result<NodeReport, Failed> {
        let give_up = Instant::now() + LEADER_WITHIN;
        loop {
            let asked = self.ask().await?;
            // One that was deposed and has not heard of it believes that it leads, in an earlier
            // term.
            let leaders = asked.into_iter().filter(|asked| asked.leads(group));
            if let Some(leader) =
                leaders.max_by_key(|asked| asked.group(group).map(|group| group.term))
            {
                return Ok(leader);
            }
            if Instant::now() > give_up {
                let text = format!("group {group} has no leader: are most of its voters running?");
                return Err(Failed::new(Exit::Failed, text));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Has the leader of a group do something that may be done twice. Again, when it does not lead
    /// any more.
    pub async fn at_leader<T>(
        &self,
        group: &str,
        act: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, Failed> {
        let give_up = Instant::now() + LEADER_WITHIN * 2;
        loop {
            let leader = self.leader(group).await?;
            match act(&leader.client).await {
                Err(error) if is_passing(&error) && Instant::now() < give_up => {}
                done => return done.map_err(failed),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The region of a node, or what to do about a wrong id.
    pub fn region_of(&self, id: u64) -> Result<&str, Failed> {
        let node = self.nodes.iter().find(|node| node.id == id);
        node.map(|node| node.region.as_str()).ok_or_else(|| {
            let ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
            let add = if self.source == FILE { ". Add it there first" } else { "" };
            Failed::new(
                Exit::Usage,
                format!("{} has no node {id}: it has {ids:?}{add}", self.source),
            )
        })
    }

    /// The group that is meant: the one named, or that of the only region.
    pub fn group_of(&self, group: Option<&str>) -> Result<String, Failed> {
        let regions = self.regions();
        match (group, regions.first()) {
            (Some(group), _) if group == GLOBAL || regions.contains(group) => Ok(group.to_owned()),
            (None, Some(only)) if regions.len() == 1 => Ok((*only).to_owned()),
            _ => {
                let groups: Vec<_> = regions.into_iter().chain([GLOBAL]).collect();
                Err(Failed::new(Exit::Usage, format!("--group must be one of {groups:?}")))
            }
        }
    }
}

/// The client of one node. It says why it cannot connect before [`look`] gives it up.
pub fn client_of(url: &str, api_key: Option<String>) -> Result<Client, Failed> {
    let client = Client::new(url, api_key, NODE_PATIENCE).map_err(failed)?;
    client.hasty(DEAD_AFTER * 4 / 5).map_err(failed)
}

/// What a node says of the cluster; why it does not otherwise.
pub async fn look(client: &Client) -> Result<ClusterView, Silence> {
    match tokio::time::timeout(DEAD_AFTER, client.cluster()).await {
        Ok(Ok(view)) => Ok(view),
        Ok(Err(ClientError::Unavailable(unavailable))) => Err(Silence::Unavailable(unavailable)),
        Ok(Err(error)) => Err(Silence::Call(error)),
        Err(_) => Err(Silence::Late),
    }
}

/// Whether the next leader may answer what this one did not.
fn is_passing(error: &ClientError) -> bool {
    let codes = [ErrorCode::NoQuorum, ErrorCode::UnknownOutcome, ErrorCode::ShuttingDown];
    error.code().is_none_or(|code| codes.contains(&code))
}
