//! The command line.

mod acquire;
mod addresses;
mod cluster;
mod completions;
mod duration;
mod resource;
mod server;
mod signals;

use clap::{Args, Parser, Subcommand};
use ratequeue_api::client::{Client, ClientError};
use std::time::Duration;

use crate::exit::{Exit, Failed};

/// How long calls to the server may take, waits in line not counted.
const PATIENCE: Duration = Duration::from_secs(10);

/// A rate limiter that is also a waiting line: exact, replicated, close to the workloads.
#[derive(Debug, Parser)]
#[command(name = "ratequeue", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node for trying out: one region, its state in a folder
    Dev(server::Dev),
    /// Runs a node of a cluster: the same line for the first start, a restart, and after a crash
    Node(server::NodeArgs),
    /// Forms a cluster, shows it, changes its members
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Limits as files: apply, get, list, delete
    #[command(subcommand)]
    Resource(resource::Resource),
    /// Acquires, runs a command while holding the lease, and releases
    Acquire(acquire::Acquire),
    /// Prints shell completions
    Completions(completions::Completions),
    /// Prints the description of the HTTP API (OpenAPI 3.1, JSON)
    Openapi,
}

/// Where the server is, and who asks.
#[derive(Debug, Args)]
struct Server {
    /// The nodes' URLs, separated by commas
    #[arg(long, env = "RATEQUEUE_URL", default_value = "http://127.0.0.1:7600", value_name = "URLS")]
    url: String,
    /// The API key
    #[arg(long, env = "RATEQUEUE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

impl Server {
    fn client(&self) -> Result<Client, Failed> {
        Client::new(&self.url, self.api_key.clone(), PATIENCE).map_err(failed)
    }
}

/// What a failed call means to the user.
fn failed(error: ClientError) -> Failed {
    let exit = match &error {
        ClientError::Configuration(_) => Exit::Usage,
        ClientError::WaitOver(_) => Exit::WaitRanOut,
        ClientError::Problem(_) | ClientError::Unavailable(_) | ClientError::Foreign(..) => Exit::Failed,
    };
    Failed::new(exit, error.to_string())
}

/// Parses the command line and does what it says.
pub fn run() -> Result<Exit, Failed> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nobody reads what cannot be printed.
            let _ = error.print();
            return Ok(exit);
        }
    };
    match cli.command {
        Command::Dev(dev) => dev.run(),
        Command::Node(node) => node.run(),
        Command::Cluster(cluster) => block_on(cluster.run()),
        Command::Resource(resource) => block_on(resource.run()),
        Command::Acquire(acquire) => block_on(acquire.run()),
        Command::Completions(completions) => Ok(completions.run()),
        Command::Openapi => {
            print(&crate::http::document());
            Ok(Exit::Done)
        }
    }
}

/// Runs a client command; one thread is enough for it.
fn block_on(command: impl Future<Output = Result<Exit, Failed>>) -> Result<Exit, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::new(Exit::Failed, format!("cannot start: {error}")))?;
    let ended = runtime.block_on(command);
    // A name that is still being looked up holds up nobody.
    runtime.shutdown_background();
    ended
}

/// The name of a resource, as an argument.
fn resource_name(text: &str) -> Result<String, String> {
    ratequeue_limiter::ResourceName::new(text).map(|name| name.to_string()).map_err(|bad| bad.to_string())
}

/// Prints to standard output. A reader that has left, as in `| head`, is no error.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Lines of cells, in columns as wide as their widest cell. The first line is the title.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let is_last = |row: &[String], column: usize| column + 1 == row.len();
    // A last cell may be long, like an error, without widening the column for all others.
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| !is_last(row, column)).filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Passes a signal on to a process that we started. The `kill` program spares us unsafe code for one system call.
fn pass_on(child: &tokio::process::Child, name: &str) {
    if let Some(id) = child.id() {
        let sent = std::process::Command::new("kill").args(["-s", name, &id.to_string()]).status();
        if sent.is_err() {
            eprintln!("ratequeue: SIG{name} could not be passed on to process {id}");
        }
    }
}
