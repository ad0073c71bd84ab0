//! `ratequeue cluster status`.

use clap::Args;
use ratequeue_api::cluster::{ClusterView, Role};
use serde::Serialize;

use super::{Asked, File};
use crate::cli::{print, table};
use crate::exit::{Exit, Failed};

/// Shows regions, groups, leaders, voters, lag
#[derive(Debug, Args)]
pub struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: File,
}

/// What one node answered.
#[derive(Debug, Serialize)]
struct NodeStatus<'a> {
    id: u64,
    region: &'a str,
    http: &'a str,
    healthy: bool,
    error: Option<&'a str>,
    view: Option<&'a ClusterView>,
}

impl Status {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let asked = self.file.ask(&file).await?;
        if self.json {
            let nodes: Vec<_> = asked.iter().map(NodeStatus::of).collect();
            print(&(serde_json::to_string_pretty(&nodes).unwrap_or_default() + "\n"));
        } else {
            print(&table(&rows(&asked)));
        }
        let healthy = asked.iter().all(is_healthy);
        Ok(if healthy { Exit::Done } else { Exit::Failed })
    }
}

impl<'a> NodeStatus<'a> {
    fn of(asked: &'a Asked) -> Self {
        Self {
            id: asked.node.id,
            region: &asked.region,
            http: &asked.node.http,
            healthy: is_healthy(asked),
            error: asked.view.as_ref().err().map(String::as_str),
            view: asked.view.as_ref().ok(),
        }
    }
}

/// It answers, and knows a leader.
fn is_healthy(asked: &Asked) -> bool {
    asked.group().is_some_and(|group| group.leader.is_some())
}

fn rows(all: &[Asked]) -> Vec<Vec<String>> {
    let titles = ["NODE", "REGION", "HTTP", "HEALTH", "ROLE", "LEADER", "TERM", "LOG", "APPLIED", "LAG", "DIGEST"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for asked in all {
        let mut row = vec![asked.node.id.to_string(), asked.region.clone(), asked.node.http.clone()];
        match (&asked.view, asked.group()) {
            (Err(why), _) => row.push(format!("down: {why}")),
            (Ok(_), None) => row.push("not in a cluster yet".to_owned()),
            (Ok(_), Some(group)) => {
                row.extend([
                    if group.leader.is_some() { "ok" } else { "no leader" }.to_owned(),
                    role(group.role).to_owned(),
                    group.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
                    group.term.to_string(),
                    group.last_log_index.to_string(),
                    group.applied_index.to_string(),
                    lag(asked, all).to_string(),
                    group.digest.clone(),
                ]);
            }
        }
        rows.push(row);
    }
    rows
}

/// Entries that a node lacks, as its leader knows; as it knows itself when no leader answers.
fn lag(asked: &Asked, all: &[Asked]) -> u64 {
    let leader = all.iter().find(|other| other.region == asked.region && other.is_leader());
    let follower = leader.and_then(Asked::group).and_then(|group| group.followers.get(&asked.node.id));
    follower.map(|follower| follower.lag).or(asked.group().map(|group| group.lag)).unwrap_or_default()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}
