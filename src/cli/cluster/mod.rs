//! `ratequeue cluster`: forms a cluster, shows it, changes its members.

mod init;
mod leader;
mod members;
mod status;
mod up;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use ratequeue_api::ErrorCode;
use ratequeue_api::client::{Client, ClientError};
use ratequeue_api::cluster::{ClusterView, GroupView, NodeView, Role};

use crate::catalog::GLOBAL;
use crate::config::ClusterFile;
use crate::exit::{Exit, Failed};

/// How long one node is given to answer.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a leader is looked for.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks at something that takes its time.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Forms a cluster, shows it, changes its members
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Forms the cluster that a file describes, once; repeating it does nothing
    Init(init::Init),
    /// Runs every node of a file on this machine, until Ctrl-C; for trying out
    Up(up::Up),
    /// Shows regions, groups, leaders, voters, lag
    Status(status::Status),
    /// Adds a node: it catches up first, then votes
    AddNode(members::AddNode),
    /// Removes a node
    RemoveNode(members::RemoveNode),
    /// Puts a new node in the place of one that is lost
    ReplaceNode(members::ReplaceNode),
    /// Gives the votes of the global group to the members that should have them
    Rebalance(members::Rebalance),
    /// Hands leadership of a group to another node
    TransferLeader(leader::TransferLeader),
    /// Hands over everything that a node leads, before it is stopped
    Drain(leader::Drain),
}

impl Cluster {
    pub async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Init(init) => init.run().await,
            Self::Up(up) => up.run().await,
            Self::Status(status) => status.run().await,
            Self::AddNode(add) => add.run().await,
            Self::RemoveNode(remove) => remove.run().await,
            Self::ReplaceNode(replace) => replace.run().await,
            Self::Rebalance(rebalance) => rebalance.run().await,
            Self::TransferLeader(transfer) => transfer.run().await,
            Self::Drain(drain) => drain.run().await,
        }
    }
}

/// Which cluster is meant.
#[derive(Debug, Args)]
pub struct File {
    /// The file that describes the cluster
    #[arg(long, env = "RATEQUEUE_CLUSTER", value_name = "FILE")]
    cluster: PathBuf,
    /// The API key
    #[arg(long, env = "RATEQUEUE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

/// A node of the file, and what it answered.
#[derive(Debug)]
struct Asked {
    node: NodeView,
    client: Client,
    /// What it says of itself; why it does not answer otherwise.
    view: Result<ClusterView, String>,
}

impl Asked {
    /// A group, as this node sees it; nothing when it is not in it.
    fn group(&self, name: &str) -> Option<&GroupView> {
        self.view.as_ref().ok()?.groups.get(name)
    }

    /// The group of its region.
    fn own_group(&self) -> Option<&GroupView> {
        self.group(&self.node.region)
    }

    /// Whether a group is formed, as far as it knows.
    fn has_voters(&self, group: &str) -> bool {
        self.group(group).is_some_and(|group| !group.voters.is_empty())
    }

    /// Whether it knows a node as a member of one of its groups.
    fn knows(&self, id: u64) -> bool {
        let groups = self.view.iter().flat_map(|view| view.groups.values());
        groups.into_iter().any(|group| group.voters.contains(&id) || group.learners.contains(&id))
    }

    /// Whether it leads a group, and a majority follows.
    fn leads(&self, group: &str) -> bool {
        self.group(group).is_some_and(|group| group.role == Role::Leader && group.leader == Some(self.node.id))
    }

    /// The cluster it is part of, if any.
    fn cluster_id(&self) -> Option<&str> {
        self.view.as_ref().ok()?.cluster_id.as_deref()
    }
}

/// Whether a group is formed, as far as those who were asked know.
fn is_formed(asked: &[Asked], group: &str) -> bool {
    asked.iter().any(|asked| asked.has_voters(group))
}

impl File {
    fn read(&self) -> Result<ClusterFile, Failed> {
        ClusterFile::read(&self.cluster)
    }

    /// Asks every node of the file, all at once, in the order of their ids.
    async fn ask(&self, file: &ClusterFile) -> Result<Vec<Asked>, Failed> {
        let mut asking = Vec::new();
        for node in file.views() {
            let client = Client::new(&node.http, self.api_key.clone(), NODE_PATIENCE).map_err(super::failed)?;
            asking.push(async move {
                let asked = tokio::time::timeout(NODE_PATIENCE, client.cluster()).await;
                let view = match asked {
                    Ok(Ok(view)) => Ok(view),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("no answer in {} s", NODE_PATIENCE.as_secs())),
                };
                Asked { node, client, view }
            });
        }
        let mut asked = futures::future::join_all(asking).await;
        asked.sort_by_key(|asked| asked.node.id);
        Ok(asked)
    }

    /// The leader of a group, waited for while there is none.
    async fn leader(&self, file: &ClusterFile, group: &str) -> Result<Asked, Failed> {
        let give_up = Instant::now() + LEADER_WITHIN;
        loop {
            let asked = self.ask(file).await?;
            // One that was deposed and has not heard of it believes that it leads, in an earlier term.
            let leaders = asked.into_iter().filter(|asked| asked.leads(group));
            if let Some(leader) = leaders.max_by_key(|asked| asked.group(group).map(|group| group.term)) {
                return Ok(leader);
            }
            if Instant::now() > give_up {
                let text = format!("group {group} has no leader: are most of its voters running?");
                return Err(Failed::new(Exit::Failed, text));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Has the leader of a group do something that may be done twice. Again, when it does not lead any more.
    async fn at_leader<T>(
        &self,
        file: &ClusterFile,
        group: &str,
        act: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, Failed> {
        let give_up = Instant::now() + LEADER_WITHIN * 2;
        loop {
            let leader = self.leader(file, group).await?;
            match act(&leader.client).await {
                Err(error) if is_passing(&error) && Instant::now() < give_up => {}
                done => return done.map_err(super::failed),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// Whether the next leader may answer what this one did not.
fn is_passing(error: &ClientError) -> bool {
    let codes = [ErrorCode::NoQuorum, ErrorCode::UnknownOutcome, ErrorCode::ShuttingDown];
    error.code().is_none_or(|code| codes.contains(&code))
}

/// The region of a node, or what to do about a wrong id.
fn region_of(file: &ClusterFile, id: u64) -> Result<String, Failed> {
    match file.node(id) {
        Some((region, _)) => Ok(region.to_owned()),
        None => Err(Failed::new(
            Exit::Usage,
            format!("the file has no node {id}: it has {:?}. Add it there first", file.ids()),
        )),
    }
}

/// The group that is meant: the one named, or that of the only region.
fn group_of(file: &ClusterFile, group: Option<&str>) -> Result<String, Failed> {
    let mut regions = file.regions.keys();
    match (group, regions.next(), regions.next()) {
        (Some(group), _, _) if group == GLOBAL || file.regions.contains_key(group) => Ok(group.to_owned()),
        (None, Some(only), None) => Ok(only.clone()),
        _ => {
            let groups: Vec<_> = file.regions.keys().map(String::as_str).chain([GLOBAL]).collect();
            Err(Failed::new(Exit::Usage, format!("--group must be one of {groups:?}")))
        }
    }
}
