//! `ratequeue resource get`.

use clap::Args;
use ratequeue_api::watch::ResourceStats;
use ratequeue_api::{Limit, ResourceView};

use super::{LIMIT_TITLES, limit_cells};
use crate::cli::completions::resource_names;
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::{cell, json, print, table};
use crate::cli::{Server, duration, failed, resource_name};

/// Shows all of a resource, and how it stands
#[derive(Debug, Args)]
pub struct Get {
    /// Its name
    #[arg(value_parser = resource_name, add = resource_names())]
    name: String,
    /// As JSON, which `resource apply` takes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Get {
    pub async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let Some(view) = client.resource(&self.name).await.map_err(failed)? else {
            let text = format!(
                "no resource is named {}. `ratequeue resource list` shows those that there are",
                self.name
            );
            return Err(Failed::new(Exit::Refused, text));
        };
        if self.json {
            print(&json(&view));
            return Ok(Exit::Done);
        }

        let stats = client.stats(&self.name).await.map_err(failed)?;
        print(&(fields(&view, &stats) + "\n" + &limits(&view, &stats)));
        Ok(Exit::Done)
    }
}

fn fields(view: &ResourceView, stats: &ResourceStats) -> String {
    let (queue, lease) = (&view.queue, &view.lease);
    [
        ("name", view.name.clone()),
        ("placement", view.placement.clone()),
        ("version", format!("{}, in effect from log index {}", view.version, view.effective_index)),
        ("held", stats.held.to_string()),
        ("waiting", format!("{} of at most {}", stats.queue_depth, queue.max_waiting)),
        ("longest wait", duration::show(queue.max_wait_ms)),
        ("time to claim", duration::show(queue.claim_ms)),
        (
            "time to live",
            format!(
                "{}, at most {}",
                duration::show(lease.default_ttl_ms),
                duration::show(lease.max_ttl_ms)
            ),
        ),
    ]
    .into_iter()
    .map(|(name, value)| format!("{name:<13}  {value}\n"))
    .collect()
}

fn limits(view: &ResourceView, stats: &ResourceStats) -> String {
    let row = |(name, limit): (&String, &Limit)| {
        let usage = stats.limits.get(name);
        let mut row = limit_cells(name, limit).to_vec();
        row.extend([cell(usage.map(|usage| usage.used)), cell(usage.map(|usage| usage.remaining))]);
        row
    };
    let rows: Vec<_> = view.limits.iter().map(row).collect();
    table(&[&LIMIT_TITLES[..], &["USED", "REMAINING"]].concat(), &rows)
}
