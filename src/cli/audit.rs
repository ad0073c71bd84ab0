//! `ratequeue log dump` and `ratequeue verify-log`: what a stopped node decided.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ratequeue_raft::Replay;
use ratequeue_storage::{DataDir, GroupName, StateOptions, StateStore, keys};
use serde::Serialize;

use super::output::{json, print, table};
use super::resource_name;
use crate::audit::{Audit, Breach, Decision, DecisionKind, Report};
use crate::cli::exit::{Exit, Failed};
use crate::config::GLOBAL;

/// Which log to read.
#[derive(Debug, Args)]
struct Source {
    /// The data folder of a node that does not run
    #[arg(long, env = "RATEQUEUE_DATA", value_name = "DIR")]
    data: PathBuf,
    /// One group only: a region, or global; both groups of the node when it is not given
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only what is about this resource
    #[arg(long, value_name = "NAME", value_parser = resource_name)]
    resource: Option<String>,
}

/// The log of a stopped node
#[derive(Debug, Subcommand)]
pub enum Log {
    Dump(Dump),
}

/// Prints every decision of a stopped node's log
///
/// From the newest checkpoint on, as far as the log reaches. Grants, places in the queue, ends,
/// refusals and changes of limits, a line each.
#[derive(Debug, Args)]
pub struct Dump {
    #[command(flatten)]
    source: Source,
    /// As JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// Checks a stopped node's log: the most that was ever admitted, and whether every bound held
///
/// The log is replayed from the newest checkpoint on. MOST is what was held at once, or admitted in
/// any window, or, by a token bucket, beyond what had refilled; BOUND is the highest that it could
/// be in that time. Exit code 1 when a bound did not hold.
#[derive(Debug, Args)]
pub struct VerifyLog {
    #[command(flatten)]
    source: Source,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The check of one group.
#[derive(Debug, Serialize)]
struct Verdict {
    group: String,
    /// The entries that were replayed: from this one on ...
    first_index: u64,
    /// ... to the one before this.
    next_index: u64,
    decisions: u64,
    limits: Vec<Report>,
    breaches: u64,
    first_breaches: Vec<Breach>,
}

impl Source {
    /// Reads the logs that are meant. `each` is given every decision, and whether it is wanted.
    fn read(&self, mut each: impl FnMut(&Decision)) -> Result<Vec<Verdict>, Failed> {
        let usage = |text: String| Failed::new(Exit::Usage, text);
        let shown = self.data.display();
        if !self.data.is_dir() {
            return Err(usage(format!(
                "there is no folder {shown}: give the data folder of a node"
            )));
        }
        // Looked at before it is opened: opening a folder makes a lock file in it.
        let foreign = || {
            usage(format!("{shown} is not the data folder of a node that was part of a cluster"))
        };
        if !self.data.join(keys::FILE_IDENTITY).is_file() {
            return Err(foreign());
        }
        let data = DataDir::open(&self.data).map_err(|error| of_data(&error))?;
        let identity = data.identity().ok_or_else(foreign)?;

        let groups = [identity.region, GLOBAL.to_owned()];
        if let Some(group) = self.group.as_ref().filter(|group| !groups.contains(group)) {
            let text =
                format!("the node is not in the group {group}: it is in {}", groups.join(" and "));
            return Err(usage(text));
        }

        let store = StateStore::open(data.state_dir(), StateOptions::default());
        let (store, _) = store.map_err(|error| Failed::new(Exit::Data, error.to_string()))?;
        let meant =
            groups.iter().filter(|group| self.group.as_ref().is_none_or(|one| one == *group));
        meant.map(|group| self.verify(&data, &store, group, &mut each)).collect()
    }

    fn verify(
        &self,
        data: &DataDir,
        store: &StateStore,
        group: &str,
        each: &mut impl FnMut(&Decision),
    ) -> Result<Verdict, Failed> {
        let of_group = |error: ratequeue_raft::OpenError| {
            let exit = if error.is_damaged() { Exit::Data } else { Exit::Failed };
            Failed::new(exit, error.to_string())
        };
        let name = GroupName::new(group);
        let name = name.map_err(|error| Failed::new(Exit::Data, error.to_string()))?;
        let mut replay =
            Replay::open(&data.log_dir(&name), store, name.clone()).map_err(of_group)?;
        let first_index = replay.next_index();
        let mut audit = Audit::new(group, replay.state());

        let is_wanted = |resource: &str| self.resource.as_ref().is_none_or(|one| one == resource);
        while let Some(replayed) = replay.step().map_err(of_group)? {
            for decision in audit.observe(&replayed, replay.state()) {
                if is_wanted(decision.resource.as_str()) {
                    each(&decision);
                }
            }
        }

        let mut limits = audit.reports();
        limits.retain(|report| is_wanted(&report.resource));
        let (all, first) = audit.breaches();
        let of_limits = limits.iter().map(|report| report.breaches).sum();
        let breaches = if self.resource.is_some() { of_limits } else { all };
        let first_breaches = first.iter().filter(|breach| is_wanted(&breach.resource));
        Ok(Verdict {
            group: group.to_owned(),
            first_index,
            next_index: replay.next_index(),
            decisions: audit.decisions(),
            limits,
            breaches,
            first_breaches: first_breaches.cloned().collect(),
        })
    }
}

fn of_data(error: &ratequeue_storage::OpenError) -> Failed {
    let exit = if error.needs_operator() { Exit::Data } else { Exit::Failed };
    Failed::new(exit, error.to_string())
}

impl Log {
    pub fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Dump(dump) => dump.run(),
        }
    }
}

impl Dump {
    fn run(self) -> Result<Exit, Failed> {
        let as_json = self.json;
        self.source.read(|decision| {
            let line = if as_json {
                serde_json::to_string(decision).unwrap_or_default()
            } else {
                words(decision)
            };
            print(&(line + "\n"));
        })?;
        Ok(Exit::Done)
    }
}

/// A decision for people.
fn words(decision: &Decision) -> String {
    let Decision { index, time_us, resource, .. } = decision;
    let mut line = format!("{index:>10}  {:>14.6} s  {resource}  ", *time_us as f64 / 1e6);
    // Writing to a text does not fail.
    let _ = match &decision.kind {
        DecisionKind::Queued { lease, .. } => write!(line, "queued {lease}"),
        DecisionKind::Granted { lease, fencing_token, waited_us, .. } => {
            let waited = waited_us / 1_000;
            write!(line, "granted {lease}, token {fencing_token}, after {waited} ms")
        }
        DecisionKind::Ended { lease, state, .. } => write!(line, "{state} {lease}"),
        DecisionKind::Refused { load } => write!(line, "refused a load of {load}"),
        DecisionKind::LimitsChanged { version } => {
            write!(line, "limits changed, version {version}")
        }
        DecisionKind::Deleted => write!(line, "deleted"),
    };
    line
}

const TITLES: [&str; 8] =
    ["RESOURCE", "LIMIT", "RULE", "GRANTS", "MOST", "BOUND", "AT ENTRY", "RESULT"];

impl VerifyLog {
    pub fn run(self) -> Result<Exit, Failed> {
        let verdicts = self.source.read(|_| {})?;
        if self.json {
            print(&json(&verdicts));
        } else {
            for verdict in &verdicts {
                print(&verdict.text());
            }
        }

        let breaches: u64 = verdicts.iter().map(|verdict| verdict.breaches).sum();
        if breaches > 0 {
            return Err(Failed::new(Exit::Failed, format!("{breaches} bounds did not hold")));
        }
        Ok(Exit::Done)
    }
}

impl Verdict {
    fn text(&self) -> String {
        let Self { group, first_index, next_index, decisions, breaches, .. } = self;
        let row = |report: &Report| {
            let result = if report.breaches == 0 {
                "held".to_owned()
            } else {
                format!("{} breaches", report.breaches)
            };
            let numbers = [report.grants, report.most, report.bound, report.at_index];
            let [grants, most, bound, at] = numbers.map(|number| number.to_string());
            vec![
                report.resource.clone(),
                report.limit.clone(),
                report.rule.to_owned(),
                grants,
                most,
                bound,
                at,
                result,
            ]
        };

        let mut text = format!(
            "Group {group}: entries {first_index} to {next_index}, {decisions} decisions, {breaches} breaches.\n"
        );
        if !self.limits.is_empty() {
            text += &table(&TITLES, &self.limits.iter().map(row).collect::<Vec<_>>());
        }
        for Breach { index, resource, limit, detail } in &self.first_breaches {
            let limit = limit.as_deref().unwrap_or("fencing token");
            text += &format!("entry {index}: {resource} {limit}: {detail}\n");
        }
        text
    }
}
