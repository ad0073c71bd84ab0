//! `ratequeue dev` and `ratequeue node`: the server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ratequeue_link::{HostPort, ListenAddress};
use tokio::runtime::Handle;

use super::addresses::{Addresses, Advertised, from_here};
use super::duration::InvalidDuration;
use super::signals::Signals;
use super::{duration, listeners, log, parent};
use crate::cli::exit::{Exit, Failed};
use crate::config::{ClusterFile, view};
use crate::http::server;
use crate::run::{
    CheckpointPolicy, Descriptors, Listening, NodeOptions, OpenError, Running, consensus_runtime,
};

/// Runs one node for trying out: one region, its state in a folder
#[derive(Debug, Args)]
pub struct Dev {
    /// Where to listen: HOST:PORT, or :PORT for every interface
    #[arg(long, env = "RATEQUEUE_HTTP", default_value = "127.0.0.1:7600", value_name = "ADDRESS")]
    http: ListenAddress,
    /// The host under which callers reach it, and the port, when they differ from where it listens
    #[arg(long, env = "RATEQUEUE_ADVERTISE", value_name = "HOST[:PORT]")]
    advertise: Option<Advertised>,
    /// The folder for its state; made if it does not exist
    #[arg(long, env = "RATEQUEUE_DATA", default_value = "ratequeue-data", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    checkpoints: Checkpoints,
}

/// Runs a node of a cluster: the same line for the first start, a restart, and after a crash
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The file that describes the cluster
    #[arg(long, env = "RATEQUEUE_CLUSTER", value_name = "FILE")]
    cluster: PathBuf,
    /// Which of its nodes this is
    #[arg(long, env = "RATEQUEUE_ID", value_name = "N")]
    id: u64,
    /// The folder for its state; made if it does not exist
    #[arg(long, env = "RATEQUEUE_DATA", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    addresses: Addresses,
    /// At SIGTERM, how long /readyz says 503 while calls are still taken, before the node stops
    #[arg(long, env = "RATEQUEUE_DRAIN", default_value = "2s", value_parser = duration::parse, value_name = "TIME")]
    drain: Duration,
    #[command(flatten)]
    checkpoints: Checkpoints,
    /// The process that started it, with which it ends: for `cluster up`
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

/// When the state is written as a whole.
#[derive(Debug, Args)]
struct Checkpoints {
    /// The longest time between two checkpoints: 1s to 1h. A shorter one is written to the disk more
    /// often and leaves less of the log to read at a start
    #[arg(long, env = "RATEQUEUE_CHECKPOINT_INTERVAL", default_value = "1m", value_parser = checkpoint_interval, value_name = "TIME")]
    checkpoint_interval: Duration,
}

impl Checkpoints {
    fn policy(&self) -> CheckpointPolicy {
        CheckpointPolicy { interval: self.checkpoint_interval, ..CheckpointPolicy::default() }
    }
}

impl Dev {
    pub fn run(self) -> Result<Exit, Failed> {
        let data = self.data.clone();
        let checkpoint = self.checkpoints.policy();
        serve(self.http, self.data, 1, Duration::ZERO, |listens, consensus| {
            let text = welcome(&format!("http://{listens}"), &data);
            let told = self
                .advertise
                .map_or_else(|| listens.clone(), |advertised| advertised.or(listens.clone()));
            (NodeOptions { checkpoint, ..NodeOptions::alone(&told, consensus) }, text)
        })
    }
}

fn checkpoint_interval(text: &str) -> Result<Duration, InvalidDuration> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    let interval = duration::parse(text)?;
    if bounds.contains(&interval) { Ok(interval) } else { Err(InvalidDuration::Range("1s", "1h")) }
}

fn welcome(url: &str, data: &std::path::Path) -> String {
    let limit = r#"{"limits":{"rpm":{"kind":"rate","quota":60,"window_ms":60000}}}"#;
    format!(
        "RateQueue listens on {url}, its state is in {}. Try:\n\n  \
         curl -X PUT {url}/v1/resources/demo --json '{limit}'\n  \
         curl {url}/v1/resources/demo/acquire --json '{{\"load\":1,\"wait_ms\":5000}}'\n  \
         curl {url}/v1/resources/demo/stats\n\nCtrl-C stops it.\n",
        data.display(),
    )
}

impl NodeArgs {
    pub fn run(self) -> Result<Exit, Failed> {
        self.parent.map_or(Ok(()), parent::end_with)?;
        let file = ClusterFile::read(&self.cluster)?;
        let usage = |text: String| Failed::new(Exit::Usage, text);

        let Some((region, node)) = file.node(self.id) else {
            let text = format!(
                "{} has no node {}: it has {:?}",
                self.cluster.display(),
                self.id,
                file.ids()
            );
            return Err(usage(text));
        };

        let (region, places) = (region.to_owned(), self.addresses.of(node));
        let own = view(self.id, &region, &places.http, &places.peer);
        let nodes = file.ids().len();
        let checkpoint = self.checkpoints.policy();

        serve(places.listen_http, self.data, nodes, self.drain, |listens, consensus| {
            let options = NodeOptions {
                cluster: file,
                region,
                id: self.id,
                own,
                peer: places.listen_peer,
                checkpoint,
                consensus,
            };
            (options, format!("RateQueue node {} listens on http://{listens}.\n", self.id))
        })
    }
}

/// Runs a node of a cluster of so many until it is told to stop. `describe` is given where it is
/// found from this machine, which port 0 leaves open.
fn serve(
    http: ListenAddress,
    data: PathBuf,
    nodes: usize,
    drain: Duration,
    describe: impl FnOnce(HostPort, Handle) -> (NodeOptions, String),
) -> Result<Exit, Failed> {
    log::install()?;
    let descriptors = Descriptors::acquire(nodes.saturating_sub(1));
    let descriptors = descriptors.map_err(|error| Failed::new(Exit::Usage, error.to_string()))?;
    tracing::info!(
        open_files = descriptors.limit,
        connections = descriptors.connections,
        "the most there may be"
    );
    let cannot_start_threads =
        |error: std::io::Error| Failed::new(Exit::Failed, format!("cannot start: {error}"));
    let consensus = consensus_runtime().map_err(cannot_start_threads)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(cannot_start_threads)?;

    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let listeners = tokio::select! {
            bound = server::bind(&http) => bound.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?,
            _ = signals.next() => return Ok(Exit::Done),
        };
        let address = listeners.address();
        listeners::warn_if_open(&http, address.ip(), "--http");
        let listens = from_here(&http, address);
        let listens = listens.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
        let (options, text) = describe(listens.clone(), consensus.handle().clone());
        if let Some(ip) = options.peer.ip().filter(|_| nodes > 1) {
            listeners::warn_if_open(&options.peer, ip, "--peer");
        }
        let (told, data_shown) = (&options.own.http, data.display());
        tracing::info!(address = %listens, told, data = %data_shown, "listening, and opening the data folder");

        let listening = Listening::start(options.id, listeners, descriptors);
        let node = tokio::select! {
            opened = listening.open(options, data) => opened.map_err(|error| cannot_open(&error))?,
            _ = signals.next() => return Ok(Exit::Done),
        };
        // Who reads it calls at once.
        super::print(&text);
        run(node, signals, drain).await
    });
    // What is left when it ended early, like a folder that is being opened, ends with the process.
    runtime.shutdown_background();
    // Last: what the calls wait for is there as long as they are.
    consensus.shutdown_background();
    ended
}

fn cannot_open(error: &OpenError) -> Failed {
    let is_about_data = matches!(error, OpenError::Start(error) if error.is_about_data());
    Failed::new(if is_about_data { Exit::Data } else { Exit::Failed }, error.to_string())
}

/// Runs a node until it is told to stop, or cannot go on.
async fn run(node: Running, mut signals: Signals, drain: Duration) -> Result<Exit, Failed> {
    let failed = tokio::select! {
        _ = signals.next() => None,
        ended = node.failed() => Some(ended),
    };
    if let Some(ended) = failed {
        node.give_up();
        let exit = if ended.is_outdated { Exit::Data } else { Exit::Failed };
        return Err(Failed::new(exit, ended.why));
    }

    tokio::spawn(end_at_once(signals));
    let stopped = node.stop(drain).await;
    stopped.map_err(|error| {
        Failed::new(Exit::Failed, format!("the state could not be saved: {error}"))
    })?;
    Ok(Exit::Done)
}

/// Ends the process at the next signal, as a crash would: somebody does not want to wait.
async fn end_at_once(mut signals: Signals) {
    let ending = signals.next().await;
    eprintln!(
        "ratequeue: ended at once. Nothing that was acknowledged is lost: the next start reads it from the log"
    );
    std::process::exit(ending.code().into());
}
