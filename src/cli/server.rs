//! `ratequeue dev` and `ratequeue node`: the server.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ratequeue_link::{HostPort, ListenAddress};
use ratequeue_raft::Calls;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use super::addresses::{Addresses, Advertised, from_here};
use super::signals::Signals;
use super::{duration, listeners, log, parent};
use crate::cli::exit::{Exit, Failed};
use crate::config::{ClusterFile, view};
use crate::http::server::{self, Server};
use crate::http::{self, Routes};
use crate::node::descriptors::Descriptors;
use crate::node::{Node, NodeOptions, StartError};
use crate::ops;
use crate::service::relay::RelayService;
use crate::service::{Service, peer_handler};

/// Threads of consensus, one a core: two at least, so that a long entry holds up no heartbeat ...
const CONSENSUS_THREADS_MIN: usize = 2;
/// ... and no more than two groups and their links can make use of.
const CONSENSUS_THREADS_MAX: usize = 8;

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
    /// The process that started it, with which it ends: for `cluster up`
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

impl Dev {
    pub fn run(self) -> Result<Exit, Failed> {
        let data = self.data.clone();
        serve(self.http, self.data, 1, Duration::ZERO, |listens, consensus| {
            let text = welcome(&format!("http://{listens}"), &data);
            let told = self
                .advertise
                .map_or_else(|| listens.clone(), |advertised| advertised.or(listens.clone()));
            let cluster = ClusterFile::alone("dev", "local", &told);
            let own = view(1, "local", &told, &told);
            // It is alone, and listens for no other node.
            let peer = told.into();
            (NodeOptions { cluster, region: "local".to_owned(), id: 1, own, peer, consensus }, text)
        })
    }
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

        serve(places.listen_http, self.data, nodes, self.drain, |listens, consensus| {
            let options = NodeOptions {
                cluster: file,
                region,
                id: self.id,
                own,
                peer: places.listen_peer,
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
        let listening = tokio::select! {
            bound = server::bind(&http) => bound.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?,
            _ = signals.next() => return Ok(Exit::Done),
        };
        listeners::warn_if_open(&http, listening.address().ip(), "--http");
        let listens = from_here(&http, listening.address());
        let listens = listens.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
        let (options, text) = describe(listens.clone(), consensus.handle().clone());
        if let Some(ip) = options.peer.ip().filter(|_| nodes > 1) {
            listeners::warn_if_open(&options.peer, ip, "--peer");
        }
        let (told, data_shown) = (&options.own.http, data.display());
        tracing::info!(address = %listens, told, data = %data_shown, "listening, and opening the data folder");
        let server = Arc::new(Server::new(options.id, descriptors));
        let serving = tokio::spawn(Arc::clone(&server).run(listening));

        let Some(node) = open(options, data, &mut signals).await? else { return Ok(Exit::Done) };
        run(node, &server, serving, signals, drain, &text).await
    });
    // What is left when it ended early, like a folder that is being opened, ends with the process.
    runtime.shutdown_background();
    // Last: what the calls wait for is there as long as they are.
    consensus.shutdown_background();
    ended
}

/// Opens a node, which may take long; gives nothing when it was told to stop meanwhile.
async fn open(
    options: NodeOptions,
    data: PathBuf,
    signals: &mut Signals,
) -> Result<Option<Arc<Node>>, Failed> {
    let runtime = Handle::current();
    // On a thread of its own: it reads the disk, and the server answers meanwhile.
    let opening = tokio::task::spawn_blocking(move || runtime.block_on(Node::open(options, &data)));
    tokio::select! {
        opened = opening => {
            let opened = opened.map_err(|error| Failed::new(Exit::Failed, format!("cannot open: {error}")))?;
            opened.map(|node| Some(Arc::new(node))).map_err(|error| cannot_start(&error))
        }
        _ = signals.next() => Ok(None),
    }
}

/// The threads of the groups and the peer link. Nothing else runs on them, so that no call, however
/// long, holds up a heartbeat, a vote or an entry.
fn consensus_runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(CONSENSUS_THREADS_MIN, NonZero::get);
    let threads = cores.clamp(CONSENSUS_THREADS_MIN, CONSENSUS_THREADS_MAX);
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("consensus")
        .worker_threads(threads)
        .enable_all()
        .build()
}

fn cannot_start(error: &StartError) -> Failed {
    let exit = if error.is_about_data() { Exit::Data } else { Exit::Failed };
    Failed::new(exit, error.to_string())
}

async fn run(
    node: Arc<Node>,
    server: &Server,
    serving: JoinHandle<()>,
    mut signals: Signals,
    drain: Duration,
    text: &str,
) -> Result<Exit, Failed> {
    let service = Service::new(Arc::clone(&node));
    let router = http::router(service.clone());
    let handler = peer_handler(service, Routes::new(router.clone()));
    let relay: Arc<dyn Calls> = Arc::new(RelayService::new(handler));
    server.open(router);
    // Who reads it calls at once.
    super::print(text);
    let watching = {
        let (node, relay) = (Arc::clone(&node), Arc::downgrade(&relay));
        tokio::spawn(async move {
            tokio::join!(
                node.count(),
                node.answer(relay),
                node.watch_regions(),
                async { node.joined().await.sweep().await },
                ops::drive(&node),
                ops::tell_address(&node)
            )
        })
    };

    let died = tokio::select! {
        _ = signals.next() => None,
        ended = node.failed() => Some(ended),
    };
    if let Some(ended) = died {
        node.stop();
        // Nothing that is still to be answered can be: a node whose disk failed must not pretend to
        // be one.
        let exit = if ended.is_outdated { Exit::Data } else { Exit::Failed };
        return Err(Failed::new(exit, ended.why));
    }
    tokio::spawn(end_at_once(signals));

    node.leave();
    tokio::join!(node.hand_over(), tokio::time::sleep(drain));
    node.stop();
    server.close();
    // It ends by itself, in bounded time, now that the node is stopping.
    let _ = serving.await;
    watching.abort();
    let stopped = node.shutdown().await;
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
