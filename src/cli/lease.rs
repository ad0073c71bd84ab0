//! `ratequeue lease`: who holds and who waits.

use clap::{Args, Subcommand, ValueEnum};
use ratequeue_api::{Lease as View, LeaseState, Load, ReleaseRequest, Released};

use super::acquire::parse_load;
use super::completions::resource_names;
use super::output::{Failures, NONE, cell, json, pairs, print, table};
use super::{Server, duration, failed, resource_name};
use crate::cli::exit::{Exit, Failed};

/// Items on the pages that a list is read in.
const PAGE_ITEMS: u64 = 500;

/// Leases: list, get, release
#[derive(Debug, Subcommand)]
pub enum Lease {
    List(List),
    Get(Get),
    Release(Release),
}

/// Lists the leases of a resource: those that are held, then the queue
#[derive(Debug, Args)]
pub struct List {
    /// The resource
    #[arg(value_parser = resource_name, add = resource_names())]
    resource: String,
    /// Only those in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Shows a lease, also one that has ended a moment ago
///
/// To the server this is a sign of life from its caller: a place in the queue is kept for 15 s
/// more.
#[derive(Debug, Args)]
pub struct Get {
    /// Its id
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Gives leases back, or places in the queue up, in the place of their callers
///
/// Who works under such a lease is not told before it next extends or releases it.
#[derive(Debug, Args)]
pub struct Release {
    /// Their ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// What was really used of the load: less than charged is given back. All of it when absent
    #[arg(long, value_parser = parse_load, value_name = "N")]
    used: Option<Load>,
    #[command(flatten)]
    server: Server,
}

/// Which leases are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Held,
    Waiting,
}

impl Lease {
    pub async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::List(list) => list.run().await,
            Self::Get(get) => get.run().await,
            Self::Release(release) => release.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let state = self.state.map(|state| match state {
            State::Held => LeaseState::Held,
            State::Waiting => LeaseState::Waiting,
        });

        let (mut leases, mut cursor) = (Vec::new(), None);
        loop {
            let page = client
                .leases(&self.resource, state, PAGE_ITEMS, cursor.as_deref())
                .await
                .map_err(failed)?;
            leases.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }

        print(&if self.json { json(&leases) } else { rows(&leases) });
        Ok(Exit::Done)
    }
}

impl Get {
    async fn run(self) -> Result<Exit, Failed> {
        let lease = self.server.client()?.lease(&self.id).await.map_err(failed)?;
        print(&if self.json { json(&lease) } else { rows(&[lease]) });
        Ok(Exit::Done)
    }
}

impl Release {
    async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let request = ReleaseRequest { used: self.used.clone() };
        let mut failures = Failures::default();
        for id in &self.ids {
            match client.release(id, &request).await {
                Ok(released) => print(&describe(&released)),
                Err(error) => failures.say(id, &failed(error)),
            }
        }
        failures.sum_up(self.ids.len(), "released")
    }
}

fn describe(released: &Released) -> String {
    let amounts = |what: &str, amounts: &std::collections::BTreeMap<String, u64>| {
        if amounts.is_empty() { String::new() } else { format!(", {what} {}", pairs(amounts)) }
    };
    let given_back =
        amounts("given back", &released.refunded) + &amounts("charged on top", &released.debited);
    format!("{}: {}{given_back}\n", released.id, name(released.state))
}

const TITLES: [&str; 10] = [
    "LEASE",
    "RESOURCE",
    "STATE",
    "POSITION",
    "LOAD",
    "PRIORITY",
    "TOKEN",
    "WAITED",
    "EXPIRES IN",
    "METADATA",
];

fn rows(leases: &[View]) -> String {
    table(&TITLES, &leases.iter().map(row).collect::<Vec<_>>())
}

fn row(lease: &View) -> Vec<String> {
    let load = match &lease.load {
        Some(Load::One(load)) => load.to_string(),
        Some(Load::Map(loads)) => pairs(loads),
        None => NONE.to_owned(),
    };

    vec![
        lease.id.clone(),
        lease.resource.clone(),
        name(lease.state),
        cell(lease.position),
        load,
        cell(lease.priority),
        cell(lease.fencing_token),
        cell(lease.waited_ms.map(duration::about)),
        cell(lease.expires_in_ms.map(duration::about)),
        pairs(lease.metadata.iter().flatten()),
    ]
}

/// A state as the API spells it.
fn name(state: LeaseState) -> String {
    serde_json::to_value(state)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
