//! `ratequeue resource apply`.

use std::path::PathBuf;

use clap::Args;
use ratequeue_api::Resource;
use ratequeue_api::client::{Client, ClientError};

use super::differences::{as_written, differences};
use super::files;
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::{Failures, print};
use crate::cli::{Server, failed};

/// Creates and changes resources as files say
///
/// A file is TOML or JSON: `[resources.NAME.limits.LIMIT]`, or what `resource get --json` and
/// `resource list --json` print. A resource that cannot be applied does not keep the others from
/// it.
#[derive(Debug, Args)]
pub struct Apply {
    /// Files, folders of .toml and .json files, or - for standard input
    #[arg(value_name = "FILE|DIR|-", required_unless_present = "file")]
    paths: Vec<PathBuf>,
    /// The same, as a flag
    #[arg(short, long, value_name = "FILE|DIR|-")]
    file: Vec<PathBuf>,
    /// Only shows what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: Server,
}

/// What was done to one resource.
struct Applied {
    what: &'static str,
    details: Vec<String>,
}

impl Apply {
    pub async fn run(self) -> Result<Exit, Failed> {
        let paths: Vec<PathBuf> = self.paths.iter().chain(&self.file).cloned().collect();
        let resources = files::read(&paths)?;
        let client = self.server.client()?;

        let mut failures = Failures::default();
        for (nth, (name, wanted)) in resources.iter().enumerate() {
            match self.apply(&client, name, wanted).await {
                Ok(applied) => self.show(name, applied),
                Err(error) if is_nobody_there(&error) => {
                    let left = resources.len() - nth;
                    let Failed { exit, text } = failed(error);
                    return Err(Failed::new(
                        exit,
                        format!("{text} {left} of {} were not applied", resources.len()),
                    ));
                }
                Err(error) => failures.say(name, &failed(error)),
            }
        }
        failures.sum_up(resources.len(), "applied")
    }

    async fn apply(
        &self,
        client: &Client,
        name: &str,
        wanted: &Resource,
    ) -> Result<Applied, ClientError> {
        let now = client.resource(name).await?;
        let (what, details) = match &now {
            Some(now) => ("changed", differences(now, wanted)),
            None => ("created", as_written(wanted)),
        };
        if now.is_some() && details.is_empty() {
            return Ok(Applied { what: "unchanged", details });
        }

        if !self.dry_run {
            client.put_resource(name, wanted).await?;
        }
        Ok(Applied { what, details })
    }

    fn show(&self, name: &str, applied: Applied) {
        let would = if self.dry_run && applied.what != "unchanged" { "would be " } else { "" };
        print(&format!("{name}: {would}{}\n", applied.what));
        for detail in applied.details {
            print(&format!("  {detail}\n"));
        }
    }
}

/// No node answered at all, so none will answer for the next resource.
fn is_nobody_there(error: &ClientError) -> bool {
    matches!(error, ClientError::Unavailable(_) if error.code().is_none())
        || matches!(error, ClientError::Foreign(..))
}
