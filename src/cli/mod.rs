//! The command line: one file a command, with its arguments, its calls and what it prints.
//!
//! ```text
//!   exit.rs         how the process ends, and with which code
//!   output.rs       tables, JSON, failures that do not end a command
//!   words.rs        what a failed call means at a terminal
//!   signals.rs      SIGHUP, SIGINT and SIGTERM        log.rs          what a server logs
//!   parent.rs       ending with the parent process    listeners.rs    warnings of open listeners
//!   completions.rs  completions, also of names        duration.rs     times as people write them
//! ```

mod acquire;
mod addresses;
mod audit;
mod cluster;
mod completions;
mod duration;
pub mod exit;
mod lease;
mod listeners;
mod log;
mod output;
mod parent;
mod resource;
mod server;
mod signals;
mod stats;
mod tail;
mod words;

use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;
use ratequeue_api::client::Client;
use ratequeue_limiter::{BadName, ResourceName};

use self::exit::{Exit, Failed};
use self::output::print;
use self::words::failed;

/// How long calls to the server may take, waits in the queue not counted.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a dead node may cost a command.
const DEAD_AFTER: Duration = Duration::from_secs(1);

/// A rate limiter that is also a queue: exact, replicated, close to the workloads.
#[derive(Debug, Parser)]
#[command(name = "ratequeue", version, about, arg_required_else_help = true, after_help = exit::help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(server::Dev),
    Node(server::NodeArgs),
    /// Forms a cluster, shows it, changes its members
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Limits as files: apply, get, list, delete
    #[command(subcommand)]
    Resource(resource::Resource),
    Stats(stats::Stats),
    Tail(tail::Tail),
    /// Leases: list, get, release
    #[command(subcommand)]
    Lease(lease::Lease),
    Acquire(acquire::Acquire),
    #[command(subcommand)]
    Log(audit::Log),
    VerifyLog(audit::VerifyLog),
    Completions(completions::Completions),
    /// Prints the description of the HTTP API (OpenAPI 3.1, JSON)
    Openapi,
}

/// Where the server is, and who asks.
#[derive(Debug, Args)]
struct Server {
    /// The nodes' URLs, separated by commas
    #[arg(long, env = "RATEQUEUE_URL", default_value = DEFAULT_URL, value_name = "URLS")]
    url: String,
    /// The API key
    #[arg(long, env = "RATEQUEUE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

/// Where `ratequeue dev` listens.
const DEFAULT_URL: &str = "http://127.0.0.1:7600";

impl Server {
    fn client(&self) -> Result<Client, Failed> {
        let client = Client::new(&self.url, self.api_key.clone(), PATIENCE).map_err(failed)?;
        client.hasty(DEAD_AFTER).map_err(failed)
    }
}

/// Parses the command line and does what it says.
pub fn run() -> Result<Exit, Failed> {
    // Ends the process when a shell asks for completions.
    CompleteEnv::with_factory(Cli::command).var(completions::VARIABLE).complete();

    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody reads what cannot be printed.
            let _ = error.print();
            return Ok(not_parsed(&error));
        }
    };
    match cli.command {
        Command::Dev(dev) => dev.run(),
        Command::Node(node) => node.run(),
        Command::Cluster(cluster) => block_on(cluster.run()),
        Command::Resource(resource) => block_on(resource.run()),
        Command::Stats(stats) => block_on(stats.run()),
        Command::Tail(tail) => block_on(tail.run()),
        Command::Lease(lease) => block_on(lease.run()),
        Command::Acquire(acquire) => block_on(acquire.run()).map_err(Failed::beside_a_command),
        Command::Log(log) => log.run(),
        Command::VerifyLog(verify) => verify.run(),
        Command::Completions(completions) => completions.run(),
        Command::Openapi => {
            print(&crate::http::document());
            Ok(Exit::Done)
        }
    }
}

/// The end of a command line that is wrong, or asks for help.
fn not_parsed(error: &clap::Error) -> Exit {
    let is_acquire = std::env::args_os().nth(1).is_some_and(|command| command == "acquire");
    if !error.use_stderr() {
        Exit::Done
    } else if is_acquire {
        Exit::Usage.beside_a_command()
    } else {
        Exit::Usage
    }
}

/// Runs a client command; one thread is enough for it.
fn block_on(command: impl Future<Output = Result<Exit, Failed>>) -> Result<Exit, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failed::new(Exit::Failed, format!("cannot start: {error}")))?;
    let ended = runtime.block_on(command);
    // A name that is still being looked up holds up nobody.
    runtime.shutdown_background();
    ended
}

/// The name of a resource, as an argument.
fn resource_name(text: &str) -> Result<String, BadName> {
    ResourceName::new(text).map(|name| name.to_string())
}
