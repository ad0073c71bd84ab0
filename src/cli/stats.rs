//! `ratequeue stats`: how resources stand.

use std::collections::BTreeMap;

use clap::Args;
use futures::StreamExt;
use ratequeue_api::ErrorCode;
use ratequeue_api::watch::{LimitStats, ResourceStats};

use super::completions::resource_names;
use super::output::{Failures, NONE, cell, json, print, table};
use super::{Server, duration, failed, resource, resource_name};
use crate::cli::exit::{Exit, Failed};

/// Resources that are asked for at once.
const AT_ONCE: usize = 8;
/// Resources that are shown when none is named.
const RESOURCES_MAX: usize = 1_000;

/// Shows how resources stand: who holds, who waits, what is used
///
/// A row for each limit. Rates and waits are those of the last 10 s, as the asked node has seen
/// them.
#[derive(Debug, Args)]
pub struct Stats {
    /// Which resources; all when none is named
    #[arg(value_name = "NAME", value_parser = resource_name, add = resource_names())]
    names: Vec<String>,
    /// As JSON: an object with the stats of each resource by its name
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Stats {
    pub async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let (names, missing) = if self.names.is_empty() {
            let (views, missing) = resource::all(&client, RESOURCES_MAX).await?;
            if views.len() > RESOURCES_MAX {
                let text = format!(
                    "there are more than {RESOURCES_MAX} resources: name those that you want to see"
                );
                return Err(Failed::new(Exit::Usage, text));
            }
            (views.into_iter().map(|view| view.name).collect(), missing)
        } else {
            (self.names.clone(), None)
        };

        let asking =
            futures::stream::iter(&names).map(async |name| (name, client.stats(name).await));
        let asked: Vec<_> = asking.buffered(AT_ONCE).collect().await;
        let (mut all, mut failures) = (BTreeMap::new(), Failures::default());
        for (name, stats) in asked {
            match stats {
                Ok(stats) => drop(all.insert(name.as_str(), stats)),
                // One that was listed a moment ago was deleted meanwhile.
                Err(error)
                    if self.names.is_empty()
                        && error.code() == Some(ErrorCode::ResourceNotFound) => {}
                Err(error) => failures.say(name, &failed(error)),
            }
        }
        print(&if self.json { json(&all) } else { rows(&all) });
        missing.map_or(Ok(()), Err)?;
        failures.sum_up(names.len(), "shown")
    }
}

const TITLES: [&str; 13] = [
    "RESOURCE",
    "HELD",
    "WAITING",
    "OLDEST",
    "LIMIT",
    "QUOTA",
    "USED",
    "REMAINING",
    "GRANTED/S",
    "RELEASED/S",
    "REJECTED/S",
    "WAIT P50",
    "P99",
];

/// A row for each limit.
fn rows(all: &BTreeMap<&str, ResourceStats>) -> String {
    let rows = all
        .iter()
        .flat_map(|(name, stats)| stats.limits.iter().map(|limit| row(name, stats, limit)));
    table(&TITLES, &rows.collect::<Vec<_>>())
}

fn row(name: &str, stats: &ResourceStats, (limit, usage): (&String, &LimitStats)) -> Vec<String> {
    let rates = stats.throughput;
    let wait = |ms: Option<u64>| cell(ms.map(duration::about));
    let oldest = if stats.queue_depth == 0 {
        NONE.to_owned()
    } else {
        duration::about(stats.oldest_wait_ms)
    };

    vec![
        name.to_owned(),
        stats.held.to_string(),
        stats.queue_depth.to_string(),
        oldest,
        limit.clone(),
        usage.quota.to_string(),
        usage.used.to_string(),
        usage.remaining.to_string(),
        format!("{:.1}", rates.granted_per_s),
        format!("{:.1}", rates.released_per_s),
        format!("{:.1}", rates.rejected_per_s),
        wait(stats.wait_ms.map(|wait| wait.p50)),
        wait(stats.wait_ms.map(|wait| wait.p99)),
    ]
}
