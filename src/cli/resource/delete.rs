//! `ratequeue resource delete`.

use clap::Args;

use crate::cli::completions::resource_names;
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::{Failures, print};
use crate::cli::{Server, failed, resource_name};

/// Deletes resources: waiting leases end, held ones are forgotten
#[derive(Debug, Args)]
pub struct Delete {
    /// Their names
    #[arg(required = true, value_parser = resource_name, add = resource_names())]
    names: Vec<String>,
    #[command(flatten)]
    server: Server,
}

impl Delete {
    pub async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let mut failures = Failures::default();
        for name in &self.names {
            match client.delete_resource(name).await {
                Ok(()) => print(&format!("{name}: deleted\n")),
                Err(error) => failures.say(name, &failed(error)),
            }
        }
        failures.sum_up(self.names.len(), "deleted")
    }
}
