//! `ratequeue cluster status`.

use std::collections::BTreeSet;

use clap::Args;
use ratequeue_api::cluster::{ClusterView, GroupView, Role};
use serde::Serialize;

use super::{Asked, File};
use crate::catalog::GLOBAL;
use crate::cli::{print, table};
use crate::config::ClusterFile;
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
            let regions = if file.regions.len() > 1 { table(&regions(&file, &asked)) + "\n" } else { String::new() };
            print(&(regions + &table(&groups(&file, &asked))));
        }
        let healthy = asked.iter().all(is_healthy);
        Ok(if healthy { Exit::Done } else { Exit::Failed })
    }
}

impl<'a> NodeStatus<'a> {
    fn of(asked: &'a Asked) -> Self {
        Self {
            id: asked.node.id,
            region: &asked.node.region,
            http: &asked.node.http,
            healthy: is_healthy(asked),
            error: asked.view.as_ref().err().map(String::as_str),
            view: asked.view.as_ref().ok(),
        }
    }
}

/// It answers, and knows the leaders of both its groups.
fn is_healthy(asked: &Asked) -> bool {
    [asked.own_group(), asked.group(GLOBAL)].into_iter().all(|group| group.is_some_and(|group| group.leader.is_some()))
}

/// A row for each region.
fn regions(file: &ClusterFile, all: &[Asked]) -> Vec<Vec<String>> {
    let titles = ["REGION", "HEALTH", "NODES", "UP", "LEADER", "UNREACHABLE FROM"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for region in file.regions.keys() {
        let nodes: Vec<&Asked> = all.iter().filter(|asked| asked.node.region == *region).collect();
        let up = nodes.iter().filter(|asked| asked.view.is_ok()).count();
        let leader = nodes.iter().find(|asked| asked.leads(region)).map(|asked| asked.node.id);
        let health = match (up, leader) {
            (0, _) => "lost",
            (_, None) => "no leader",
            (up, Some(_)) if up < nodes.len() => "degraded",
            _ => "ok",
        };
        let is_cut = |asked: &&Asked| {
            let view = asked.view.as_ref().ok().and_then(|view| view.regions.get(region));
            asked.node.region != *region && view.is_some_and(|view| !view.reachable)
        };
        let cut: BTreeSet<&str> = all.iter().filter(is_cut).map(|asked| asked.node.region.as_str()).collect();
        rows.push(vec![
            region.clone(),
            health.to_owned(),
            nodes.len().to_string(),
            up.to_string(),
            leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
            if cut.is_empty() { "-".to_owned() } else { cut.into_iter().collect::<Vec<_>>().join(", ") },
        ]);
    }
    rows
}

/// A row for each group of each node.
fn groups(file: &ClusterFile, all: &[Asked]) -> Vec<Vec<String>> {
    let titles =
        ["GROUP", "NODE", "REGION", "HTTP", "HEALTH", "ROLE", "LEADER", "TERM", "LOG", "APPLIED", "LAG", "DIGEST"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for name in file.regions.keys().map(String::as_str).chain([GLOBAL]) {
        for asked in all.iter().filter(|asked| name == GLOBAL || asked.node.region == name) {
            let node = &asked.node;
            let mut row = vec![name.to_owned(), node.id.to_string(), node.region.clone(), node.http.clone()];
            match (&asked.view, asked.group(name)) {
                (Err(why), _) => row.push(format!("down: {why}")),
                (Ok(_), None) => row.push("not in a cluster yet".to_owned()),
                (Ok(_), Some(group)) => row.extend(cells(name, group, asked, all)),
            }
            rows.push(row);
        }
    }
    rows
}

fn cells(name: &str, group: &GroupView, asked: &Asked, all: &[Asked]) -> [String; 8] {
    [
        if group.leader.is_some() { "ok" } else { "no leader" }.to_owned(),
        role(group.role).to_owned(),
        group.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
        group.term.to_string(),
        group.last_log_index.to_string(),
        group.applied_index.to_string(),
        lag(name, asked, all).to_string(),
        group.digest.clone(),
    ]
}

/// Entries that a node lacks, as its leader knows; as it knows itself when no leader answers.
fn lag(name: &str, asked: &Asked, all: &[Asked]) -> u64 {
    let leader = all.iter().find(|other| other.leads(name)).and_then(|leader| leader.group(name));
    let follower = leader.and_then(|group| group.followers.get(&asked.node.id));
    follower.map(|follower| follower.lag).or(asked.group(name).map(|group| group.lag)).unwrap_or_default()
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
