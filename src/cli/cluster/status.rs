//! `ratequeue cluster status`.

use std::collections::BTreeSet;

use clap::Args;
use ratequeue_api::cluster::{ClusterView, GroupView, Role};
use serde::Serialize;

use super::{NodeReport, Nodes, Place};
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::{NONE, cell, json, print, table};
use crate::config::GLOBAL;

/// Shows regions, groups, leaders, voters, lag; exits with 1 when a member is not healthy
#[derive(Debug, Args)]
pub struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What one node answered.
#[derive(Debug, Serialize)]
struct NodeStatus<'a> {
    id: u64,
    region: &'a str,
    http: &'a str,
    /// Whether the cluster counts it among its nodes.
    member: bool,
    healthy: bool,
    error: Option<String>,
    view: Option<&'a ClusterView>,
}

impl Status {
    pub async fn run(self) -> Result<Exit, Failed> {
        let nodes = self.place.nodes().await?;
        let all = nodes.ask().await?;
        if self.json {
            let nodes: Vec<_> = all.iter().map(|asked| NodeStatus::of(asked, &all)).collect();
            print(&json(&nodes));
        } else {
            let regions = if nodes.regions().len() > 1 {
                regions(&nodes, &all) + "\n"
            } else {
                String::new()
            };
            print(
                &(regions + &groups(&nodes, &all) + "\n" + &members(&nodes, &all) + &silent(&all)),
            );
        }

        let is_whole = all.iter().all(|asked| is_healthy(asked) || !is_member(asked, &all));
        Ok(if is_whole { Exit::Done } else { Exit::Failed })
    }
}

impl<'a> NodeStatus<'a> {
    fn of(asked: &'a NodeReport, all: &[NodeReport]) -> Self {
        Self {
            id: asked.node.id,
            region: &asked.node.region,
            http: &asked.node.http,
            member: is_member(asked, all),
            healthy: is_healthy(asked),
            error: asked.view.as_ref().err().map(ToString::to_string),
            view: asked.view.as_ref().ok(),
        }
    }
}

/// It answers, and knows the leaders of both its groups.
fn is_healthy(asked: &NodeReport) -> bool {
    [asked.own_group(), asked.group(GLOBAL)]
        .into_iter()
        .all(|group| group.is_some_and(|group| group.leader.is_some()))
}

/// The cluster counts it among its nodes, or there is no cluster yet. A file may have others: one
/// that was removed, or that is to be added.
fn is_member(asked: &NodeReport, all: &[NodeReport]) -> bool {
    let formed: Vec<&NodeReport> = all.iter().filter(|other| other.has_voters(GLOBAL)).collect();
    formed.is_empty() || formed.iter().any(|other| other.knows(asked.node.id))
}

/// A row for each region.
fn regions(nodes: &Nodes, all: &[NodeReport]) -> String {
    let row = |region: &str| {
        let own: Vec<&NodeReport> = all
            .iter()
            .filter(|asked| asked.node.region == region && is_member(asked, all))
            .collect();
        let up = own.iter().filter(|asked| asked.view.is_ok()).count();
        let leader = own.iter().find(|asked| asked.leads(region)).map(|asked| asked.node.id);
        let health = match (up, leader) {
            (0, _) => "lost",
            (_, None) => "no leader",
            (up, Some(_)) if up < own.len() => "degraded",
            _ => "ok",
        };
        let is_cut = |asked: &&NodeReport| {
            let view = asked.view.as_ref().ok().and_then(|view| view.regions.get(region));
            asked.node.region != region && view.is_some_and(|view| !view.reachable)
        };
        let cut: BTreeSet<&str> =
            all.iter().filter(is_cut).map(|asked| asked.node.region.as_str()).collect();
        vec![
            region.to_owned(),
            health.to_owned(),
            own.len().to_string(),
            up.to_string(),
            cell(leader),
            if cut.is_empty() {
                NONE.to_owned()
            } else {
                cut.into_iter().collect::<Vec<_>>().join(", ")
            },
        ]
    };

    let rows: Vec<_> = nodes.regions().into_iter().map(row).collect();
    table(&["REGION", "HEALTH", "NODES", "UP", "LEADER", "UNREACHABLE FROM"], &rows)
}

/// A row for each group, as the node sees it that has heard of the latest leader.
fn groups(nodes: &Nodes, all: &[NodeReport]) -> String {
    let row = |name: &str| {
        let views = all
            .iter()
            .filter_map(|asked| asked.group(name).map(|group| (asked.leads(name), group)));
        let view = views.max_by_key(|(leads, group)| (group.term, *leads)).map(|(_, group)| group);
        vec![
            name.to_owned(),
            cell(view.and_then(|group| group.leader)),
            cell(view.map(|group| group.term)),
            cell(view.map(|group| ids(&group.voters))),
            cell(view.map(|group| ids(&group.learners))),
            cell(view.map(|group| group.feature_level)),
        ]
    };

    let rows: Vec<_> = nodes.regions().into_iter().chain([GLOBAL]).map(row).collect();
    table(&["GROUP", "LEADER", "TERM", "VOTERS", "LEARNERS", "LEVEL"], &rows)
}

fn ids(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    if ids.is_empty() { NONE.to_owned() } else { ids.join(",") }
}

/// A row for each group of each node.
fn members(nodes: &Nodes, all: &[NodeReport]) -> String {
    let mut rows = Vec::new();
    for name in nodes.regions().into_iter().chain([GLOBAL]) {
        for asked in all.iter().filter(|asked| name == GLOBAL || asked.node.region == name) {
            let node = &asked.node;
            let mut row =
                vec![node.id.to_string(), node.region.clone(), node.http.clone(), name.to_owned()];
            match (&asked.view, asked.group(name)) {
                _ if !is_member(asked, all) => row.extend(no_cells("no member")),
                (Err(_), _) => row.extend(no_cells("down")),
                (Ok(_), None) => row.extend(no_cells("no cluster")),
                (Ok(_), Some(group)) => row.extend(cells(name, group, asked, all)),
            }
            rows.push(row);
        }
    }

    let titles = [
        "NODE", "REGION", "HTTP", "GROUP", "HEALTH", "ROLE", "LEADER", "TERM", "LOG", "APPLIED",
        "LAG", "DIGEST",
    ];
    table(&titles, &rows)
}

fn cells(name: &str, group: &GroupView, asked: &NodeReport, all: &[NodeReport]) -> [String; 8] {
    [
        if group.leader.is_some() { "ok" } else { "no leader" }.to_owned(),
        role(group.role).to_owned(),
        cell(group.leader),
        group.term.to_string(),
        group.last_log_index.to_string(),
        group.applied_index.to_string(),
        lag(name, asked, all).to_string(),
        group.digest.clone(),
    ]
}

fn no_cells(health: &str) -> [String; 8] {
    [health, NONE, NONE, NONE, NONE, NONE, NONE, NONE].map(str::to_owned)
}

/// Why nodes do not answer, below the tables.
fn silent(all: &[NodeReport]) -> String {
    let why = |asked: &NodeReport| {
        let why = asked.view.as_ref().err()?;
        Some(format!("node {} does not answer at {}: {why}\n", asked.node.id, asked.node.http))
    };
    let lines: String = all.iter().filter(|asked| is_member(asked, all)).filter_map(why).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// Entries that a node lacks, as its leader knows; as it knows itself when no leader answers.
fn lag(name: &str, asked: &NodeReport, all: &[NodeReport]) -> u64 {
    let leader = all.iter().find(|other| other.leads(name)).and_then(|leader| leader.group(name));
    let follower = leader.and_then(|group| group.followers.get(&asked.node.id));
    follower
        .map(|follower| follower.lag)
        .or(asked.group(name).map(|group| group.lag))
        .unwrap_or_default()
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
